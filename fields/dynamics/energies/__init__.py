"""Learned energies of tokens, with gradients in closed form."""

from fields.dynamics.energies.attention import AttentionEnergy as AttentionEnergy
from fields.dynamics.energies.energy_transformer import EnergyTransformer as EnergyTransformer
from fields.dynamics.energies.local import LocalEnergy as LocalEnergy
from fields.dynamics.energies.mlp import MLPEnergy as MLPEnergy

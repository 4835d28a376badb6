"""Tokens evolve."""

from fields.processors.associative import Associative as Associative
from fields.processors.attention_ode import AttentionODE as AttentionODE
from fields.processors.base import Processor as Processor
from fields.processors.double_bracket import DoubleBracket as DoubleBracket
from fields.processors.flow import Flow as Flow
from fields.processors.gat import GAT as GAT
from fields.processors.grand import Grand as Grand
from fields.processors.graph_hamiltonian import GraphHamiltonian as GraphHamiltonian
from fields.processors.hamiltonian import Hamiltonian as Hamiltonian
from fields.processors.isometry import Isometry as Isometry
from fields.processors.metriplectic import Metriplectic as Metriplectic
from fields.processors.tangent_bracket import TangentBracket as TangentBracket
from fields.processors.transformer import Transformer as Transformer

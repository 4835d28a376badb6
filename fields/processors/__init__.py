"""Processors evolve tokens: free ones (transformer, graph attention, neural ODE) and stacks.

Processors that obey a law are in :mod:`fields.flows`, one law a file.
"""

from fields.processors.attention_ode import AttentionField as AttentionField
from fields.processors.attention_ode import AttentionODE as AttentionODE
from fields.processors.base import Processor as Processor
from fields.processors.flow import Flow as Flow
from fields.processors.gat import GAT as GAT
from fields.processors.stack import Stack as Stack
from fields.processors.transformer import Transformer as Transformer

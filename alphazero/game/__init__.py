"""The game interface, and the check that holds a game to it."""

from alphazero.game.conformance import ConformanceError as ConformanceError
from alphazero.game.conformance import check_game as check_game
from alphazero.game.interface import ILLEGAL as ILLEGAL
from alphazero.game.interface import Box as Box
from alphazero.game.interface import CompiledRules as CompiledRules
from alphazero.game.interface import Discrete as Discrete
from alphazero.game.interface import Game as Game
from alphazero.game.interface import Symmetry as Symmetry
from alphazero.game.interface import Transition as Transition
from alphazero.game.interface import box_of as box_of
from alphazero.game.interface import masked as masked
from alphazero.game.interface import num_actions as num_actions
from alphazero.game.interface import random_actions as random_actions
from alphazero.game.loading import load_game as load_game
from alphazero.game.states import S as S
from alphazero.game.states import State as State
from alphazero.game.states import Tensors as Tensors
from alphazero.game.states import batch_size as batch_size
from alphazero.game.states import concatenate as concatenate
from alphazero.game.states import field_names as field_names
from alphazero.game.states import map_states as map_states
from alphazero.game.states import named_fields as named_fields
from alphazero.game.states import state_from as state_from
from alphazero.game.states import take as take
from alphazero.game.states import where as where

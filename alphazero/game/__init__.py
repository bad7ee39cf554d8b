"""What a game is, and the check that holds a game to it."""

from alphazero.game.conformance import ConformanceError as ConformanceError
from alphazero.game.conformance import check_game as check_game
from alphazero.game.interface import ILLEGAL as ILLEGAL
from alphazero.game.interface import Box as Box
from alphazero.game.interface import Discrete as Discrete
from alphazero.game.interface import Game as Game
from alphazero.game.interface import S as S
from alphazero.game.interface import State as State
from alphazero.game.interface import Symmetry as Symmetry
from alphazero.game.interface import Transition as Transition
from alphazero.game.interface import batch_size as batch_size
from alphazero.game.interface import box_of as box_of
from alphazero.game.interface import concatenate as concatenate
from alphazero.game.interface import field_names as field_names
from alphazero.game.interface import load_game as load_game
from alphazero.game.interface import map_states as map_states
from alphazero.game.interface import masked as masked
from alphazero.game.interface import named_fields as named_fields
from alphazero.game.interface import num_actions as num_actions
from alphazero.game.interface import random_actions as random_actions
from alphazero.game.interface import state_from as state_from
from alphazero.game.interface import take as take
from alphazero.game.interface import where as where

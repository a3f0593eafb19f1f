"""Differential privacy: mechanisms, accounting, and the methods that use them."""

from ._audit_canaries import audit_canaries as audit_canaries, CanaryAudit as CanaryAudit
from ._audit_epsilon import audit_epsilon as audit_epsilon
from ._audit_one_run import one_run_audit as one_run_audit
from ._calibrate_gaussian import calibrate_gaussian as calibrate_gaussian
from ._calibrate_noise import calibrate_noise as calibrate_noise
from ._calibrate_relative_gaussian import calibrate_relative_gaussian as calibrate_relative_gaussian
from ._conversion import zcdp_to_epsilon as zcdp_to_epsilon
from ._dp_ftrl import DPFTRL as DPFTRL
from ._dp_gd import DPGD as DPGD
from ._dp_sgd import DPSGD as DPSGD
from ._epsilon import epsilon as epsilon
from ._gaussian_delta import gaussian_delta as gaussian_delta
from ._gaussian_mechanism import gaussian_noise as gaussian_noise, NoiseState as NoiseState
from ._matrix_mechanism import AbstractMatrixMechanism as AbstractMatrixMechanism
from ._matrix_mechanism_banded import Banded as Banded
from ._matrix_mechanism_identity import Identity as Identity
from ._matrix_mechanism_noise import correlated_noise as correlated_noise, CorrelatedNoiseState as CorrelatedNoiseState
from ._matrix_mechanism_square_root import SquareRootToeplitz as SquareRootToeplitz
from ._matrix_mechanism_tree import BinaryTree as BinaryTree
from ._plan import Plan as Plan
from ._plan_base import AbstractPlan as AbstractPlan
from ._plan_matrix import MatrixPlan as MatrixPlan
from ._private_error import PrivacyError as PrivacyError
from ._private_method import PrivateState as PrivateState
from ._private_mirror_descent import PrivateMirrorDescent as PrivateMirrorDescent
from ._private_relative_gaussian_gd import (
    RelativeGaussianGD as RelativeGaussianGD,
    RelativeGaussianState as RelativeGaussianState,
)
from ._rdp_composed_epsilon import composed_epsilon as composed_epsilon
from ._rdp_delta import delta as delta
from ._rdp_relative_epsilon import relative_gaussian_epsilon as relative_gaussian_epsilon
from ._rdp_relative_largest_order import relative_gaussian_largest_order as relative_gaussian_largest_order
from ._rdp_subsampled_gaussian import subsampled_gaussian_rdp as subsampled_gaussian_rdp
from ._rdp_to_delta import rdp_to_delta as rdp_to_delta
from ._rdp_to_epsilon import rdp_to_epsilon as rdp_to_epsilon
from ._relative_gaussian import relative_gaussian as relative_gaussian
from ._relative_gaussian_noise import relative_gaussian_noise as relative_gaussian_noise
from ._relative_gaussian_rdp import relative_gaussian_rdp as relative_gaussian_rdp

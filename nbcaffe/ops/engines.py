"""The engines for hosts by name, in the order in which DEFAULT tries them; PLAIN, which runs anywhere, joins later.

WINOGRAD is faster than DIRECT for many shapes, but ten times less accurate: it is used where asked for.
"""

from .blas import BlasConvolution, BlasProduct
from .direct import DirectConvolution
from .direct_product import DirectProduct
from .winograd import WinogradConvolution

CONV_ENGINES = {"DIRECT": DirectConvolution, "WINOGRAD": WinogradConvolution, "BLAS": BlasConvolution}
PRODUCT_ENGINES = {"DIRECT": DirectProduct, "BLAS": BlasProduct}

"""The engines for hosts by name, in the order in which they are tried; PLAIN, which runs anywhere, joins later."""

from .blas import BlasConvolution, BlasProduct
from .depthwise import DepthwiseConvolution
from .direct import DirectConvolution
from .direct_product import DirectProduct
from .winograd import WinogradConvolution

CONV_ENGINES = {
    "DEPTHWISE": DepthwiseConvolution,
    "DIRECT": DirectConvolution,
    "WINOGRAD": WinogradConvolution,
    "BLAS": BlasConvolution,
}
PRODUCT_ENGINES = {"DIRECT": DirectProduct, "BLAS": BlasProduct}

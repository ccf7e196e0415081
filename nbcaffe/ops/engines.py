"""The engines for hosts by name, fastest first; PLAIN, which runs anywhere, joins them where engines are chosen."""

from .blas import BlasConvolution, BlasProduct
from .direct import DirectConvolution
from .direct_product import DirectProduct

CONV_ENGINES = {"DIRECT": DirectConvolution, "BLAS": BlasConvolution}
PRODUCT_ENGINES = {"DIRECT": DirectProduct, "BLAS": BlasProduct}

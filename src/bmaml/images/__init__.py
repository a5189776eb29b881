"""Images with classes: reading, checking, caching and splitting them, and episodes of them."""

from bmaml.images.files import ImageFiles as ImageFiles
from bmaml.images.files import read_images as read_images
from bmaml.images.image_set import ImageSet as ImageSet
from bmaml.images.image_set import digits as digits
from bmaml.images.image_set import from_arrays as from_arrays
from bmaml.images.splits import SPLITS as SPLITS
from bmaml.images.splits import Split as Split
from bmaml.images.splits import split_images as split_images

"""Images with classes: reading, checking, caching and splitting them.

Reading answers one question in each file: `listing.py` finds files, `layout.py` finds classes, `decode.py` makes all
images alike, `cache.py` keeps the result. A new published layout is one function in `layout.py`, and a new standard
split is one entry in `splits.py`. Nothing is unpacked, and pickles are refused. A fault in a file is an `InputError`
that names the file.
"""

from bmaml.images.files import ImageFiles as ImageFiles
from bmaml.images.files import read_images as read_images
from bmaml.images.image_set import ImageSet as ImageSet
from bmaml.images.image_set import digits as digits
from bmaml.images.image_set import from_arrays as from_arrays
from bmaml.images.splits import SPLITS as SPLITS
from bmaml.images.splits import Split as Split
from bmaml.images.splits import split_images as split_images

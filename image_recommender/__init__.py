"Finds the images of a collection that look like the ones you give it: CLIP embedding, colour histogram and perceptual hash"
__version__ = "0.1.0"
from typing import TYPE_CHECKING
import lazy_loader

# Lazy, so that `python -m image_recommender.index` does not find its module imported already.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'connection': ['StoreError'],
    'features': ['ColorHistogram', 'Feature', 'PHash'],
    'index': ['IndexDamaged'],
    'indexing': ['IndexReport'],
    'library': ['Library'],
    'loader': ['BadImage'],
    'lock': ['StoreBusy'],
    'query': ['Ask'],
    'recommender': ['ImageRecommender'],
    'runners': ['RayRunner', 'extract_features'],
    'visualize': ['Match', 'Results']})

if TYPE_CHECKING:
    from .connection import StoreError as StoreError
    from .features import ColorHistogram as ColorHistogram, Feature as Feature, PHash as PHash
    from .index import IndexDamaged as IndexDamaged
    from .indexing import IndexReport as IndexReport
    from .library import Library as Library
    from .loader import BadImage as BadImage
    from .lock import StoreBusy as StoreBusy
    from .query import Ask as Ask
    from .recommender import ImageRecommender as ImageRecommender
    from .runners import RayRunner as RayRunner, extract_features as extract_features
    from .visualize import Match as Match, Results as Results

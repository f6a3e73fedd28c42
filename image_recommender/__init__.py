"Finds the images of a collection that look like the ones you give it: CLIP embedding, colour histogram and perceptual hash"
__version__ = "0.1.0"
from image_recommender.database import StoreError
from image_recommender.features import ColorHistogram, Feature, PHash
from image_recommender.index import IndexDamaged
from image_recommender.loader import BadImage
from image_recommender.recommender import ImageRecommender, IndexReport
from image_recommender.visualize import Match, Results

__all__ = ['BadImage', 'ColorHistogram', 'Feature', 'ImageRecommender', 'IndexDamaged', 'IndexReport', 'Match', 'PHash', 'Results', 'StoreError']

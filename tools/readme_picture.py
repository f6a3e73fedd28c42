"Make nbs/images/similar.jpg, the picture of README.md, from the demo collection"
import tempfile
from pathlib import Path
from image_recommender import ImageRecommender
from image_recommender.demo import make_demo

picture = Path(__file__).parent.parent/'nbs'/'images'/'similar.jpg'
with tempfile.TemporaryDirectory() as folder:
    make_demo(folder)
    rec = ImageRecommender(folder, model='efficientnet-lite0')
    rec.index()
    rec.similar('coffee/coffee_original.png', k=5).plot().savefig(picture, dpi=110, pil_kwargs={'quality': 85})

"Recommendation and learned weights, end to end"
import json
import pytest
from image_recommender import ImageRecommender
from image_recommender.loader import BadImage


@pytest.fixture
def rec(photos):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec


def test_a_history_on_the_command_line(rec, photos, sh):
    code, out, err = sh('cli', 'recommend', '--like', photos/'chelsea.png', '--dislike', photos/'rocket.jpg', '--library', photos, '--topk', 9, '--json')
    assert code == 0, err
    found = json.loads(out)
    names = {m['path'].split('/')[-1] for m in found}
    assert not names & {'chelsea.png', 'kitten.jpg', 'rocket.jpg'} # liked, its copy, disliked
    assert all(abs(sum(m['contributions'].values()) - m['score']) < 1e-4 for m in found)
    assert len({'coffee.png', 'mirrored.webp'} & names) == 1 # copies of each other share a place
    everything = [a for p in photos.glob('*.*') for a in ('--seen', p)]
    code, out, err = sh('cli', 'recommend', '--like', photos/'chelsea.png', '--library', photos, *everything)
    assert code == 1 and 'No image is left' in err


def test_deleted_images_of_a_history_do_not_matter(rec, photos):
    (photos/'rocket.jpg').unlink()
    rec.index(progress=False)
    assert len(rec.recommend(['chelsea.png'], seen=['rocket.jpg', 'grass.png', 10**6], k=3)) == 3
    with pytest.raises(BadImage, match="does not exist"): rec.recommend(['rocket.jpg'])


def test_a_taste_is_kept_and_used(rec, photos, sh):
    code, out, err = sh('cli', 'fit-weights', '--like', photos/'grass.png', '--like', photos/'gravel.png', '--name', 'stone age', '--library', photos)
    assert code == 0 and 'too few' in out, (out, err)
    again = ImageRecommender(photos)
    assert again.tastes['stone age'].kept_default
    assert again.similar('grass.png', weights='stone age').paths == rec.similar('grass.png').paths
    code, out, err = sh('cli', 'search', photos/'grass.png', '--weights', 'stoneage', '--library', photos)
    assert code == 2 and "did you mean 'stone age'" in err
    again.forget_taste('stone age')
    assert not ImageRecommender(photos).tastes

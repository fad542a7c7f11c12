"""A model of the project's contract whose tests only care what it predicts."""

from sskd.models.contract import InstanceModel


class FakeModel(InstanceModel):
    """What a test's model need not say; ``forward`` is its own."""

    input_multiple = 32
    scores_masks = True

    def embed(self, images):
        raise NotImplementedError

    def probabilities(self, class_logits):
        return class_logits.softmax(-1)[..., :-1]

    def encoders(self):
        return ()

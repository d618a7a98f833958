"""The model as Triton's Python back end runs it; every instance is a process of its own."""

import numpy
import triton_python_backend_utils as triton

from encoder import Encoder


class TritonPythonModel:
    def initialize(self, _):
        self.encoder = Encoder()

    def execute(self, requests):
        # A run holds the requests that the dynamic batcher has gathered; their texts are computed together.
        texts = [triton.get_input_tensor_by_name(request, "text").as_numpy() for request in requests]
        logits = self.encoder.logits([text.decode() for part in texts for text in part.ravel()])
        ends = numpy.cumsum([len(part) for part in texts])
        answers = [triton.Tensor("logits", part) for part in numpy.split(logits, ends[:-1])]
        return [triton.InferenceResponse(output_tensors=[answer]) for answer in answers]

"""BentoML: workers for the cores, and adaptive batching where runs of several texts are asked for."""

import bentoml

from encoder import Encoder, number

BATCHING = {"batchable": True, "max_batch_size": number("BATCH"), "max_latency_ms": 60_000}


@bentoml.service(workers=number("WORKERS"), traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Bench:
    def __init__(self):
        self.encoder = Encoder()

    @bentoml.api(**(BATCHING if number("BATCH") > 1 else {}))
    def predict(self, texts: list[str]) -> list[list[float]]:
        return self.encoder.logits(texts).tolist()

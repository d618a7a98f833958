"""LitServe: batching in the API, workers for the cores."""

import litserve

from encoder import Encoder, number


class Api(litserve.LitAPI):
    def setup(self, device):
        self.encoder = Encoder()

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        if isinstance(texts, str):
            return self.encoder.logits([texts])[0]
        return list(self.encoder.logits(texts))

    def encode_response(self, logits):
        return {"logits": logits.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=number("BATCH"), batch_timeout=number("DELAY_MS") / 1e3)
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=number("WORKERS"), fast_queue=True, timeout=60
    )
    server.run(host="127.0.0.1", port=number("PORT"), generate_client_file=False, log_level="warning", access_log=False)

#!/usr/bin/env python3
"""One forward pass of a BERT folder's shape (config.json) by PyTorch with transformers: eager, float16, CUDA, random
weights. Prints {"device_ms", "host_ms"}: medians without and with the inputs' and the output's way between memories.

  peer_torch.py FOLDER BATCH LENGTH
"""
import json
import statistics
import sys
import time


def main():
  import torch
  from transformers import BertConfig, BertModel
  folder, batch, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
  config = BertConfig.from_json_file(f"{folder}/config.json")
  model = BertModel(config, add_pooling_layer=False).eval().half().to("cuda")
  ids = torch.randint(0, config.vocab_size, (batch, length))
  inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
  on_device = {name: tensor.to("cuda") for name, tensor in inputs.items()}

  def once(from_host):
    given = {name: tensor.to("cuda") for name, tensor in inputs.items()} if from_host else on_device
    output = model(**given).last_hidden_state
    if from_host:
      output.cpu()
    torch.cuda.synchronize()

  def median(from_host, repeat=20):
    times = []
    for _ in range(repeat + 3):
      begin = time.perf_counter()
      once(from_host)
      times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times[3:])
  with torch.inference_mode():
    print(json.dumps({"device_ms": median(False), "host_ms": median(True)}))


if __name__ == "__main__":
  main()

"""Tokenizer and pipelines, against Hugging Face where its packages are there and against themselves otherwise."""
import threading
import time

import numpy as np
import pytest
import tern

MESSAGES = [{"role": "user", "content": "Name three colours."}]


def test_tokenizer_agrees_with_hugging_face(minilm):
  tokenizers = pytest.importorskip("tokenizers")
  theirs = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
  theirs.no_padding()
  theirs.no_truncation()
  ours = tern.Tokenizer(minilm)
  for text in ("Hello, world!", "", "naïve café – 東京 🙂", "a\tb\nc", "[MASK] is special"):
    assert ours.encode(text) == theirs.encode(text).ids, text
    assert ours.encode(text, add_special_tokens=False) == theirs.encode(text, add_special_tokens=False).ids
  ids = theirs.encode("unbelievable stories").ids
  assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
  assert ours.vocab_size == theirs.get_vocab_size()
  assert ours.token_to_id("[CLS]") == theirs.token_to_id("[CLS]") and ours.id_to_token(101) == "[CLS]"
  assert ours.token_to_id("no such token") is None and ours.id_to_token(10**8) is None


def test_round_trip_and_template(gguf):
  tokenizer = tern.Tokenizer(gguf)
  text = "Ünïcödé 🙂 and\n  spaces   " * 40
  assert tokenizer.decode(tokenizer.encode(text)) == text
  prompt = tokenizer.apply_chat_template(MESSAGES)
  assert prompt.endswith("<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n")
  ids = tokenizer.apply_chat_template(MESSAGES, tokenize=True)
  assert tokenizer.decode(ids) == prompt
  assert tokenizer.token_to_id("<|im_start|>") in ids
  split = tokenizer.encode("<|im_start|>", split_special_tokens=True)
  assert len(split) > 1 and tokenizer.decode(split) == "<|im_start|>"


def test_call_shapes(chat):
  one = chat("The capital of France is", max_new_tokens=4)
  assert one[0]["generated_text"].startswith("The capital of France is") and len(one) == 1
  tail = chat("The capital of France is", max_new_tokens=4, return_full_text=False)[0]["generated_text"]
  assert one[0]["generated_text"] == "The capital of France is" + tail and "Paris" in tail
  many = chat(["The capital of France is", "One two three"], max_new_tokens=4)
  assert [len(m) for m in many] == [1, 1] and many[0] == one
  talk = chat(MESSAGES, max_new_tokens=8)[0]["generated_text"]
  assert talk[:-1] == MESSAGES and talk[-1]["role"] == "assistant" and talk[-1]["content"]


def test_streamed_pieces_make_the_text(chat):
  pieces = []
  answer = chat("Once upon a time", max_new_tokens=12, return_full_text=False, streamer=pieces.append)
  assert "".join(pieces) == answer[0]["generated_text"] and len(pieces) > 3
  assert "".join(chat.stream("Once upon a time", max_new_tokens=12)) == answer[0]["generated_text"]
  for piece in chat.stream("Once upon a time", max_new_tokens=500):
    break  # leaving the loop ends the run: the next one is not refused as busy
  assert chat("Once upon a time", max_new_tokens=2)


def test_result_has_tokens_reason_and_timings(chat):
  result = chat("One, two, three,", max_new_tokens=6, return_result=True)
  assert len(result.tokens()) == 6 and result.finish_reason() == "length" and len(result) == 1
  assert chat.tokenizer.decode(result.tokens()) == result.text()
  assert result.timings.n_new_tokens == 6 and result.timings.total_ms > 0
  assert result.json == [{"generated_text": result.text()}]
  stopped = chat("One, two, three,", max_new_tokens=20, stop=[" six"], return_result=True)
  assert stopped.finish_reason() == "stop" and " six" not in stopped.text()


def test_prompt_lookup_changes_the_speed_alone(chat):
  message = [{"role": "user", "content": "Repeat exactly: " + "red, green, blue, " * 4}]
  plain, drafted = (chat(message, max_new_tokens=24, prompt_lookup_num_tokens=n, return_result=True) for n in (0, 10))
  assert drafted.tokens() == plain.tokens() and drafted.finish_reason() == plain.finish_reason()
  assert plain.timings.n_drafted_tokens == 0 < drafted.timings.n_accepted_tokens <= drafted.timings.n_drafted_tokens
  assert "".join(chat.stream(message, max_new_tokens=24, prompt_lookup_num_tokens=10)) == plain.text()


def test_sampling_follows_its_seed(chat):
  options = dict(max_new_tokens=12, temperature=1.5, top_k=50, top_p=0.95)
  first = chat("My favourite thing is", seed=7, **options)
  assert chat("My favourite thing is", seed=7, **options) == first
  assert any(chat("My favourite thing is", seed=seed, **options) != first for seed in (8, 9, 10))


def test_jobs(chat):
  job = chat.submit("Count for ever: 1 2 3", max_new_tokens=400, ignore_eos=True)
  assert not job.wait(timeout=0.001) or job.poll() == "done"
  begin = time.monotonic()
  job.cancel()
  with pytest.raises(tern.TernError) as error:
    job.result()
  assert error.value.status == "CANCELLED" and time.monotonic() - begin < 2
  assert chat.submit("Hello", max_new_tokens=3).result()[0]["generated_text"].startswith("Hello")
  started = threading.Event()
  running = chat.submit("Count for ever: 1 2 3", max_new_tokens=400, ignore_eos=True,
                        streamer=lambda piece: started.set())
  assert started.wait(60)
  with pytest.raises(tern.TernError) as error:
    chat("meanwhile")
  assert error.value.status == "BUSY"
  with pytest.raises(TimeoutError):
    running.result(timeout=0.001)
  running.close()


def test_streamer_exception_reaches_the_caller(chat):
  def fail(piece):
    raise ZeroDivisionError(piece)
  with pytest.raises(ZeroDivisionError):
    chat("Hello", max_new_tokens=5, streamer=fail)
  assert chat("Hello", max_new_tokens=2)


def test_a_job_may_be_closed_from_its_own_callback(chat):
  holder, closed = [], threading.Event()

  def close(_piece):
    while not holder:
      time.sleep(0.001)
    holder[0].close()
    closed.set()
    return True
  holder.append(chat.submit("Hello", max_new_tokens=50, streamer=close))
  assert closed.wait(20)
  for _ in range(200):  # the run ends soon after
    try:
      assert chat("Hello", max_new_tokens=2)
      break
    except tern.TernError as error:
      assert error.status == "BUSY"
      time.sleep(0.02)
  else:
    pytest.fail("the pipeline stayed busy")


@pytest.mark.parametrize("call, error, part", [
  (lambda p: p(3), TypeError, ""),
  (lambda p: p([]), TypeError, "list of"),
  (lambda p: p("x", context_policy="guess"), ValueError, "guess"),
  (lambda p: p("a\0b"), ValueError, "NUL"),
  (lambda p: p("word " * 3000), tern.TernError, "context"),
  (lambda p: p("x", max_new_tokens=-1), tern.TernError, "max_new_tokens"),
  (lambda p: p("x", repetition_penalty=-1), tern.TernError, "repetition_penalty"),
  (lambda p: p("x", prompt_lookup_num_tokens=-1), tern.TernError, "prompt_lookup_num_tokens"),
  (lambda p: p("x", max_matching_ngram_size=3), tern.TernError, "max_matching_ngram_size"),
  (lambda p: p(["x", "y"], prompt_lookup_num_tokens=4), tern.TernError, "one prompt"),
])
def test_wrong_calls(chat, call, error, part):
  with pytest.raises(error) as info:
    call(chat)
  assert part in str(info.value)


def test_open_failures(tmp_path, gguf):
  with pytest.raises(tern.TernError) as error:
    tern.pipeline("text-generation", tmp_path)
  assert error.value.status == "NOT_FOUND"
  with pytest.raises(tern.TernError, match="unknown task 'telepathy'"):
    tern.pipeline("telepathy", gguf)
  with pytest.raises(tern.TernError) as error:
    tern.pipeline("text-generation", gguf, memory_budget=1000000)
  assert error.value.status in ("OUT_OF_BUDGET", "OUT_OF_MEMORY")
  with pytest.raises(tern.TernError) as error:
    tern.pipeline("text-generation", gguf, device="abacus")
  assert error.value.status == "NO_DEVICE"


def test_a_graph_without_a_cache_is_refused(tmp_path, gguf):
  onnx = pytest.importorskip("onnx")
  folder = gguf.parent / "SmolLM2-135M-Instruct-ONNX"
  if not (folder / "tokenizer.json").exists():
    pytest.skip("no SmolLM2 folder")
  for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
    (tmp_path / name).write_bytes((folder / name).read_bytes())
  (tmp_path / "onnx").mkdir()
  table = np.zeros((49152, 8), np.float32)
  value = onnx.helper.make_tensor_value_info
  graph = onnx.helper.make_graph(
    [onnx.helper.make_node("Gather", ["table", "input_ids"], ["x"]), onnx.helper.make_node("MatMul", ["x", "out"], ["logits"])],
    "no_attention", [value("input_ids", onnx.TensorProto.INT64, ["b", "s"])],
    [value("logits", onnx.TensorProto.FLOAT, ["b", "s", 49152])],
    [onnx.numpy_helper.from_array(table, "table"), onnx.numpy_helper.from_array(table.T.copy(), "out")])
  onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
            tmp_path / "onnx" / "model.onnx")
  with pytest.raises(tern.TernError, match="past_key_values") as error:
    tern.pipeline("text-generation", tmp_path, dtype="fp32")
  assert error.value.status == "UNSUPPORTED"


def test_embeddings(minilm):
  with tern.pipeline("feature-extraction", minilm, dtype="fp32") as embed:
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The stock market fell on Monday."]
    vectors = embed(texts, normalize=True)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    np.testing.assert_allclose(embed(texts[0], normalize=True)[0], vectors[0], atol=1e-4)
    words = embed(texts[0], pooling="none", normalize=False)
    assert words.ndim == 3 and words.shape[2] == 384
    np.testing.assert_allclose(embed(texts[0], pooling="mean", normalize=False)[0], words[0].mean(0), atol=1e-4)
    np.testing.assert_allclose(embed(texts[0], pooling="cls", normalize=False)[0], words[0, 0], atol=1e-5)
    result = embed(texts, pooling="none", return_result=True)
    lengths = result.row_lengths()
    assert lengths == [len(embed.tokenizer.encode(text)) for text in texts] and len(set(lengths)) > 1
    rows = result.array()
    assert rows.shape[1] == max(lengths)
    for row, length in zip(rows, lengths):
      assert np.all(np.any(row[:length], axis=1)) and not np.any(row[length:])
    assert embed(texts, return_result=True).row_lengths() == []
    with pytest.raises(ValueError):
      embed("x", pooling="sum")
  assert vectors[0, 0] == vectors[0, 0]  # still readable: the arrays own their memory


def test_session_agrees_with_onnx_runtime(minilm):
  onnxruntime = pytest.importorskip("onnxruntime")
  ids = np.array([[101, 7592, 2088, 999, 102]], np.int64)
  feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
  theirs = onnxruntime.InferenceSession(str(minilm / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
  wanted = theirs.run(None, feed)[0]
  found = tern.Session(minilm, dtype="fp32").run(feed)
  np.testing.assert_allclose(next(iter(found.values())), wanted, atol=2e-4)  # f32 sums in another order

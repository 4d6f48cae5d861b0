"""Models with random weights for a machine that has no network: the heads (tokenizer, metadata, shapes) travel, weights
are filled in there, in seconds and with the standard library alone.

Speed depends on shapes and formats, not on what the weights say. They are spread as a trained model's are (a product
keeps the size of its input), so that numbers neither vanish nor overflow. Blocks come from a pool of random ones that
is written over and over from random places; its length is prime, so that no two rows of a matrix are alike.
"""
import dataclasses
import math
import random
import struct

from model_work import Work

F32, Q4_0, Q4_1, Q8_0 = 0, 2, 3, 8  # GGUF's tensor types
BLOCK, ALIGNMENT = 32, 32
POOL_BLOCKS = 500_009  # prime
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of GGUF's plain values
STRING, ARRAY, UINT32, FLOAT32 = 8, 9, 4, 6
# The shape of make_random_1b.py.
LAYERS, WIDTH, HEADS, KV_HEADS, FF, CONTEXT = 16, 2048, 32, 8, 8192, 8192


@dataclasses.dataclass
class Head:
  """What stands before a GGUF file's weights: records of metadata as they are (key -> bytes), and tensors as
  (name, dimensions with the row length first, type)."""
  records: dict
  tensors: list
  vocabulary: int
  size: int


class Reader:
  def __init__(self, data):
    self.data, self.at = data, 0

  def take(self, layout):
    values = struct.unpack_from("<" + layout, self.data, self.at)
    self.at += struct.calcsize("<" + layout)
    return values[0] if len(values) == 1 else values

  def string(self):
    size = self.take("Q")
    self.at += size
    return bytes(self.data[self.at - size:self.at]).decode(errors="replace")

  def skip(self, kind):
    """Returns the number of entries of an array."""
    if kind == STRING:
      self.string()
    elif kind != ARRAY:
      self.at += SIZES[kind]
    else:
      kind, count = self.take("IQ")
      if kind in SIZES:
        self.at += SIZES[kind] * count
      else:
        for _ in range(count):
          self.skip(kind)
      return count
    return 0


def read_head(data):
  reader = Reader(data)
  magic, version, n_tensors, n_records = reader.take("4sIQQ")
  if magic != b"GGUF" or version not in (2, 3):
    raise ValueError(f"no GGUF file of version 2 or 3: {magic!r}, {version}")
  head = Head({}, [], 0, 0)
  for _ in range(n_records):
    begin = reader.at
    key = reader.string()
    count = reader.skip(reader.take("I"))
    head.records[key] = bytes(data[begin:reader.at])
    if key == "tokenizer.ggml.tokens":
      head.vocabulary = count
  for _ in range(n_tensors):
    name, rank = reader.string(), reader.take("I")
    dimensions = struct.unpack_from(f"<{rank}Q", data, reader.at)
    reader.at += 8 * rank
    kind, _ = reader.take("IQ")
    head.tensors.append((name, dimensions, kind))
  head.size = reader.at
  return head


def text(value):
  data = value.encode()
  return struct.pack("<Q", len(data)) + data


def record(key, value):
  if isinstance(value, str):
    return text(key) + struct.pack("<I", STRING) + text(value)
  if isinstance(value, float):
    return text(key) + struct.pack("<If", FLOAT32, value)
  return text(key) + struct.pack("<II", UINT32, value)


def head_of_1b(smollm2):
  """A Llama of a billion parameters with the tokenizer of that head."""
  facts = {"general.architecture": "llama", "general.name": "random 1B", "llama.context_length": CONTEXT,
           "llama.embedding_length": WIDTH, "llama.block_count": LAYERS, "llama.feed_forward_length": FF,
           "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS,
           "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": WIDTH // HEADS,
           "llama.rope.freq_base": 10000.0}
  records = {key: record(key, value) for key, value in facts.items()}
  records |= {key: data for key, data in smollm2.records.items() if key.startswith("tokenizer.")}
  kv = KV_HEADS * (WIDTH // HEADS)
  products = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, kv), "attn_v": (WIDTH, kv), "attn_output": (WIDTH, WIDTH),
              "ffn_gate": (WIDTH, FF), "ffn_up": (WIDTH, FF), "ffn_down": (FF, WIDTH)}
  tensors = [("token_embd.weight", (WIDTH, smollm2.vocabulary), Q4_0)]  # also the output matrix
  for i in range(LAYERS):
    tensors += [(f"blk.{i}.{name}.weight", (WIDTH,), F32) for name in ("attn_norm", "ffn_norm")]
    tensors += [(f"blk.{i}.{name}.weight", shape, Q4_0) for name, shape in products.items()]
  tensors.append(("output_norm.weight", (WIDTH,), F32))
  return Head(records, tensors, smollm2.vocabulary, 0)


def interleave(parts):
  """Byte i of every part, one after the other: columns side by side become rows."""
  rows = bytearray(len(parts) * len(parts[0]))
  for i, part in enumerate(parts):
    rows[i::len(parts)] = part
  return rows


def halves(bits, n, values):
  """The low and the high bytes of n float16, each picked from 256 values."""
  packed = struct.pack("<256e", *values)
  choice = bits.randbytes(n)
  return choice.translate(packed[0::2]), choice.translate(packed[1::2])


def pool(bits, kind, columns):
  """Random blocks of a format for products over so many columns."""
  bits, n = random.Random(bits.random()), POOL_BLOCKS
  if kind == Q8_0:
    # -128 becomes 0: integers whose mean is not 0 would give all rows a common direction, and the model one token.
    centred, deviation, n_bytes = bytes(0 if b == 128 else b for b in range(256)), 73.6, 32
  else:
    # Two integers in a byte, 8 stands for 0; likewise for what would be -8.
    centred, deviation, n_bytes = bytes((b // 16 or 8) * 16 + (b % 16 or 8) for b in range(256)), 4.18, 16
  unit = 1 / (deviation * math.sqrt(columns))
  scales = [(0.75 + i / 510) * unit for i in range(256)]
  seed = bits.random()
  parts = [*halves(random.Random(seed), n, scales)]
  if kind == Q4_1:  # value = scale * integer + minimum, where the minimum stands for 8
    rounded = struct.unpack("<256e", struct.pack("<256e", *scales))
    parts += halves(random.Random(seed), n, [-8 * s for s in rounded])
  quants = bits.randbytes(n * n_bytes).translate(centred)
  return interleave(parts + [quants[i::n_bytes] for i in range(n_bytes)]), len(parts) + n_bytes


def size_of(shape, kind):
  block = {F32: 4 * BLOCK, Q4_0: 18, Q4_1: 20, Q8_0: 34}[kind]
  return math.prod(shape) * block // BLOCK


def write_gguf(path, head, seed=1):
  bits, pools, offset = random.Random(seed), {}, 0
  infos = []
  for name, shape, kind in head.tensors:
    infos.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
    offset += -(-size_of(shape, kind) // ALIGNMENT) * ALIGNMENT
  with open(path, "wb") as f:
    f.write(struct.pack("<4sIQQ", b"GGUF", 3, len(head.tensors), len(head.records)))
    f.write(b"".join(head.records.values()) + b"".join(infos))
    for name, shape, kind in head.tensors:
      f.write(bytes(-f.tell() % ALIGNMENT))
      if kind == F32:  # norms
        f.write(struct.pack("<f", 1.0) * math.prod(shape))
        continue
      if (kind, shape[0]) not in pools:
        pools[kind, shape[0]] = pool(bits, kind, shape[0])
      write_from(f, *pools[kind, shape[0]], bits, size_of(shape, kind))
    f.write(bytes(-f.tell() % ALIGNMENT))


def work_of(head):
  """What the model asks of a machine: bytes a token, operations (model_work.py)."""
  facts = {key.split(".", 1)[1]: struct.unpack("<I", data[-4:])[0] for key, data in head.records.items()
           if key.startswith("llama.")}  # the numbers among them that are asked for are 32 bits wide
  shapes = {name: (math.prod(shape), size_of(shape, kind)) for name, shape, kind in head.tensors}
  products = [n for name, (n, _) in shapes.items() if name.startswith("blk.") and "norm" not in name]
  heads = facts["attention.head_count"]
  return Work(weight_bytes=sum(size for _, size in shapes.values()), product_macs=sum(products),
              head_macs=shapes["token_embd.weight"][0], layers=facts["block_count"], heads=heads,
              kv_heads=facts["attention.head_count_kv"], head=facts["embedding_length"] // heads)


def write_from(f, blocks, block_size, bits, left):
  """`left` bytes of whole blocks, beginning at a random one."""
  at, view = bits.randrange(len(blocks) // block_size) * block_size, memoryview(blocks)
  while left:
    part = view[at:at + left]
    f.write(part)
    left, at = left - len(part), 0


# ---- ONNX ----

FLOAT, FLOAT16 = 1, 10
INITIALIZER, DIMS, DATA_TYPE, RAW_DATA, GRAPH = 5, 1, 2, 9, 7


def fields(data, begin, end):
  """(number, begin, end) of a protobuf message's fields; of a plain number, its value as begin and end."""
  def number():
    nonlocal at
    value, shift = 0, 0
    while True:
      byte = data[at]
      at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
      if byte < 128:
        return value
  at = begin
  while at < end:
    key = number()
    if key & 7 == 0:
      value = number()
      yield key >> 3, value, value
      continue
    size = {1: 8, 5: 4}.get(key & 7) or number()
    yield key >> 3, at, at + size
    at += size


def onnx_matrices(data):
  """[offset, bytes, rows, float type] of every matrix among a model's initializers."""
  found = []
  for field, begin, end in fields(data, 0, len(data)):
    for inner, from_, to in fields(data, begin, end) if field == GRAPH else ():
      if inner != INITIALIZER:
        continue
      dims, kind, raw = [], 0, None
      for name, a, b in fields(data, from_, to):
        if name == DIMS:
          dims += [a] if a == b else [v for v, in packed_numbers(data, a, b)]
        elif name == DATA_TYPE:
          kind = a
        elif name == RAW_DATA:
          raw = (a, b - a)
      if raw and kind in (FLOAT, FLOAT16) and len(dims) == 2:
        found.append([*raw, dims[0], kind])
  return found


def packed_numbers(data, begin, end):
  value = shift = 0
  for byte in data[begin:end]:
    value, shift = value | (byte & 127) << shift, shift + 7
    if byte < 128:
      yield (value,)
      value = shift = 0


def blank_onnx(data, matrices):
  """The model with zeros for its matrices, which compress to nothing."""
  blank = bytearray(data)
  for offset, size, _, _ in matrices:
    blank[offset:offset + size] = bytes(size)
  return blank


def fill_onnx(blank, matrices, seed=1):
  """Random matrices in their places: each a product of as many terms as it has rows, at most a thousand."""
  bits = random.Random(seed)
  for offset, size, rows, kind in matrices:
    widest = math.sqrt(3 / min(rows, 1024))
    values = [widest * (i - 127.5) / 127.5 for i in range(256)]
    if kind == FLOAT16:
      blank[offset:offset + size] = interleave(halves(bits, size // 2, values))
      continue
    packed, choice = struct.pack("<256f", *values), bits.randbytes(size // 4)
    blank[offset:offset + size] = interleave([choice.translate(packed[i::4]) for i in range(4)])

"""What gpu_compare.py measures on the GPU machine, and the programs that it runs for that: tern's command and the
peer's server. Every step has a time limit of its own and ends with what is left of the whole one."""
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = ("/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json", "/etc/vulkan/icd.d/nvidia_icd.json",
           "/usr/share/vulkan/icd.d/nvidia_icd.json")
DRIVER_LIBRARIES = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
EGL_VENDOR = "/usr/local/nvidia/share/glvnd/egl_vendor.d/10_nvidia.json"
PROMPT, GREEDY_TOKENS = "The capital of France is", 16
WORDS = "time water house light people music paper river stone night world green early small story north".split()
LAST_RESORT = 3.0  # seconds: with less left nothing is begun
TERN, PEER, TORCH = "tern", "llama.cpp Vulkan", "PyTorch eager"


class Failure(RuntimeError):
  """A step that failed; the text says what and where its log is."""


class OutOfTime(Failure):
  pass


class Machine:
  """Folders, environments, and the clock."""

  def __init__(self, args, pack):
    self.args, self.pack, self.end = args, pack, args.begin + args.seconds
    self.group_end, self.steps = self.end, 0
    self.logs = os.path.join(args.work, "logs")
    self.caches = os.path.join(args.work, "caches")
    for folder in (self.logs, self.caches):
      shutil.rmtree(folder, ignore_errors=True)
      os.makedirs(folder)
    self.tern = os.path.join(pack, "tern", "tern")
    self.server = os.path.join(pack, "peer", "llama-server")

  def begin_group(self, seconds):
    self.group_end = min(self.end, time.monotonic() + seconds)

  def limit(self, seconds):
    left = self.group_end - time.monotonic()
    if left < LAST_RESORT:
      raise OutOfTime(f"out of time ({'of the whole run' if self.group_end == self.end else 'of this part'})")
    return min(seconds, left)

  def environment(self, caches, cold=False):
    """The driver's caches and tern's in that folder; none of the driver's where cold."""
    env = dict(os.environ)
    own = [os.path.join(self.pack, "tern", "lib"), os.path.join(self.pack, "loader")]
    theirs = [p for p in (*DRIVER_LIBRARIES, env.get("LD_LIBRARY_PATH")) if p]
    env["LD_LIBRARY_PATH"] = ":".join(own + theirs)
    driver = next((path for path in DRIVERS if os.path.exists(path)), None)
    if driver and not env.get("VK_DRIVER_FILES") and not env.get("VK_ICD_FILENAMES"):
      env["VK_DRIVER_FILES"] = driver
    if os.path.exists(EGL_VENDOR):
      env.setdefault("__EGL_VENDOR_LIBRARY_FILENAMES", EGL_VENDOR)
    env |= {"XDG_RUNTIME_DIR": "/tmp", "HOME": caches, "XDG_CACHE_HOME": caches, "TERN_CACHE": caches + "/tern",
            "__GL_SHADER_DISK_CACHE_PATH": caches, "MESA_SHADER_CACHE_DIR": caches,
            "__GL_SHADER_DISK_CACHE": "0" if cold else "1"}
    os.makedirs(caches + "/tern", exist_ok=True)
    if cold:
      env["MESA_SHADER_CACHE_DISABLE"] = "true"
    return env

  def log(self, name):
    self.steps += 1
    return os.path.join(self.logs, f"{self.steps:03d}-{name}.log")

  def run(self, name, command, seconds, env=None):
    """The program's standard output."""
    log, limit = self.log(name), self.limit(seconds)
    with open(log, "w+", encoding="utf-8", errors="replace") as errors:
      process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                 text=True, errors="replace", env=env or self.environment(self.caches),
                                 start_new_session=True)
      try:
        output, _ = process.communicate(timeout=limit)
      except subprocess.TimeoutExpired:
        raise OutOfTime(f"{name}: not done after {limit:.0f} s; log: {log}") from None
      finally:
        stop(process)
    if process.returncode:
      raise Failure(f"{name}: exit {process.returncode}: {tail(log)}; log: {log}")
    return output

  def json(self, name, command, seconds, env=None):
    output = self.run(name, command, seconds, env)
    try:
      return json.loads(output)
    except ValueError:
      raise Failure(f"{name}: no JSON: {output[:200]!r}; log: {self.logs}") from None


def stop(process):
  if process.poll() is None:
    try:
      os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
      pass
    process.wait()


def tail(path):
  """The last line of a log that says something."""
  with open(path, encoding="utf-8", errors="replace") as f:
    lines = [line.strip() for line in f if line.strip()]
  return lines[-1][:200] if lines else "no message"


# ---- tern ----

def tern_bench(m, path, prompt, new, *more):
  return m.json("tern-bench", [m.tern, "bench", "--model", path, "--device", m.args.device, "--prompt-tokens",
                               str(prompt), "--new-tokens", str(new), "--context", str(prompt + new + 64),
                               "--repeat", str(m.args.repeat), "--json", *more], 90)


def tern_generate(m, path, texts, new, context, device=None):
  found = m.json("tern-run", [m.tern, "run", "text-generation", "--model", path, "--device", device or m.args.device,
                              "--max-new-tokens", str(new), "--ignore-eos", "--context", str(context), "--json",
                              *texts], 120)
  return found if isinstance(found, list) else [found]


def tern_first_token(m, path, text, context, env):
  """(ms from the start of the process to its answer of one token, prompt tokens)."""
  log, begin = m.log("tern-first-token"), time.perf_counter()
  command = [m.tern, "run", "text-generation", "--model", path, "--device", m.args.device, "--max-new-tokens", "1",
             "--ignore-eos", "--context", str(context), "--json", text]
  with open(log, "w", encoding="utf-8") as errors:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                               env=env, start_new_session=True)
    timer = threading.Timer(m.limit(90), stop, [process])
    timer.start()
    try:
      line = process.stdout.readline()
      ms = (time.perf_counter() - begin) * 1e3
      process.wait()
    finally:
      timer.cancel()
      stop(process)
  if process.returncode or not line:
    raise Failure(f"tern-first-token: exit {process.returncode}: {tail(log)}; log: {log}")
  return ms, json.loads(line)["timings"]["n_prompt_tokens"]


def token_ids(m, path, text):
  log = m.log("tern-tokenize")
  with open(log, "w", encoding="utf-8") as errors:
    result = subprocess.run([m.tern, "tokenize", "--model", path], input=text + "\n", stdout=subprocess.PIPE,
                            stderr=errors, text=True, timeout=m.limit(30), env=m.environment(m.caches))
  if result.returncode:
    raise Failure(f"tern-tokenize: exit {result.returncode}: {tail(log)}; log: {log}")
  return [int(word) for word in re.findall(r"\d+", result.stdout)]


# ---- the peer ----

class Server:
  """llama.cpp's server; started with the first request."""

  def __init__(self, m, path, context, slots=1, env=None, warm_up=True):
    self.m, self.process, self.log, self.dead = m, None, m.log("llama-server"), None
    self.path, self.word = path, None
    with socket.socket() as s:
      s.bind(("127.0.0.1", 0))
      self.port = s.getsockname()[1]
    self.env = env or m.environment(m.caches)
    self.command = [m.server, "-m", path, "-ngl", "99", "-fa", "on", "-dev", "Vulkan0", "-c", str(context * slots),
                    "-np", str(slots), "--host", "127.0.0.1", "--port", str(self.port)]
    self.command += [] if warm_up else ["--no-warmup"]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self.process:
      stop(self.process)

  def start(self):
    if self.dead:
      raise Failure(self.dead)
    limit = time.monotonic() + self.m.limit(180)
    with open(self.log, "w", encoding="utf-8") as log:
      self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                      start_new_session=True)
    while not self.healthy():
      if self.process.poll() is not None:
        self.dead = f"llama-server: exit {self.process.returncode}: {tail(self.log)}; log: {self.log}"
      elif time.monotonic() > limit:
        self.dead = f"llama-server: not ready in time; log: {self.log}"
      if self.dead:
        raise Failure(self.dead)
      time.sleep(0.005)

  def healthy(self):
    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
    try:
      connection.request("GET", "/health")
      return connection.getresponse().status == 200
    except OSError:
      return False
    finally:
      connection.close()

  def complete(self, tokens, new, seconds=120, free=False):
    """Unless free, every new token is made one word: the server refuses the text that random weights give."""
    if not self.process:
      self.start()
    if not free and self.word is None:
      self.word = token_ids(self.m, self.path, "time")[-1]
    body = {"prompt": tokens, "n_predict": new, "ignore_eos": True, "cache_prompt": False, "temperature": 0,
            "return_tokens": True, "stream": False}
    if not free:
      body["logit_bias"] = [[self.word, 1000.0]]
    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.m.limit(seconds))
    try:
      connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
      response = connection.getresponse()
      answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
      raise Failure(f"llama-server: {type(error).__name__}: {error}; log: {self.log}") from None
    finally:
      connection.close()
    if response.status != 200:
      raise Failure(f"llama-server: {json.dumps(answer)[:300]}; log: {self.log}")
    return answer

  def together(self, prompts, new):
    """The answers of requests that arrive together."""
    answers, errors = [None] * len(prompts), []

    def ask(i):
      try:
        answers[i] = self.complete(prompts[i], new)
      except Failure as error:
        errors.append(error)
    threads = [threading.Thread(target=ask, args=[i]) for i in range(len(prompts))]
    if not self.process:
      self.start()
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    if errors:
      raise errors[0]
    return answers


def made_up_ids(n, seed):
  bits = random.Random(seed)
  return [bits.randrange(1000, 40000) for _ in range(n)]


def words(n, seed=0):
  return " ".join(WORDS[(i * 5 + seed) % len(WORDS)] for i in range(n))


# ---- rows ----

class Results:
  """Rows, written after each sample."""

  def __init__(self, header, write):
    self.header, self.rows, self.write = header, [], write

  def row(self, name, unit, more, peer=PEER, note=""):
    row = {"row": name, "unit": unit, "better": "more" if more else "less", "peer": peer, "note": note,
           "samples": {TERN: [], peer: []}, "errors": {}}
    self.rows.append(row)
    return row

  def save(self):
    for row in self.rows:
      middle = {side: statistics.median(values) for side, values in row["samples"].items() if values}
      row["median"] = middle
      if len(middle) == 2 and min(middle.values()) > 0:
        ratio = middle[TERN] / middle[row["peer"]]
        row["ratio"] = ratio if row["better"] == "more" else 1 / ratio
    self.write(self)


def alternate(m, results, rows, sides, rounds=None):
  """sides: name -> a function that measures once and returns a figure for each of the rows. A side that failed is not
  asked again."""
  failed = set()
  for i in range(rounds or m.args.rounds):
    for side in list(sides)[::1 if i % 2 == 0 else -1]:
      if side in failed:
        continue
      try:
        figures = sides[side]()
      except (Failure, subprocess.TimeoutExpired, ValueError, KeyError, OSError) as error:
        failed.add(side)
        print(f"  {side}: {error}", file=sys.stderr)
        for row in rows:
          row["errors"][side] = str(error)
        figures = ()
      for row, figure in zip(rows, figures):
        row["samples"][side].append(figure)
      results.save()


def language(m, results, name, path, lengths, new, work):
  """Prefill and decode at each prompt length, then agreement, while the server is there."""
  rows = {n: (results.row(f"{name}, decode {new} at context {n}", "tokens/s", True),
              results.row(f"{name}, prefill {n}", "tokens/s", True)) for n in lengths}
  for n, (decode, prefill) in rows.items():
    decode["cost"] = work.bytes_per_token(n + new // 2) * 1e-9, "GB/s"
    prefill["cost"] = work.operations(n) / n * 1e-12, "TFLOP/s"
  state = {"seed": 0}
  with Server(m, path, max(lengths) + new + 64) as server:
    def tern(length):
      found = tern_bench(m, path, length, new)
      for row in rows[length]:
        row["prompt_tokens"] = found["prompt_tokens"]
      return found["decode_tokens_per_s"], found["prefill_tokens_per_s"]

    def peer(length):
      found = []
      for _ in range(m.args.repeat + 1):  # as tern: one to warm up
        state["seed"] += 1
        found.append(server.complete(made_up_ids(length, state["seed"]), new)["timings"])
      return [statistics.median(t[key] for t in found[1:]) for key in ("predicted_per_second", "prompt_per_second")]
    for length in lengths:
      alternate(m, results, rows[length], {TERN: lambda: tern(length), PEER: lambda: peer(length)})
    agreement(m, results, name, path, server)


def equal_start(a, b):
  return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def attempt(results, name, key, function):
  """Notes an agreement, or why there is none."""
  found = results.header.setdefault("agreement", {}).setdefault(name, {})
  try:
    found[key] = function()
  except (Failure, subprocess.TimeoutExpired, ValueError, KeyError, OSError) as error:
    found[key] = {"error": str(error)}
  results.save()


def parity(m, path, *more):
  return m.json("tern-parity", [m.tern, "parity", "--model", path, "--device", f"cpu,{m.args.device}", "--json",
                                *more], 120)


def agreement(m, results, name, path, server):
  tokens = {}

  def greedy():
    for device in ("cpu", m.args.device):
      tokens[device] = tern_generate(m, path, [PROMPT], GREEDY_TOKENS, 256, device)[0]["tokens"]
    return {"equal": equal_start(*tokens.values()), "of": GREEDY_TOKENS, "tokens": tokens}

  def against_peer():
    theirs = server.complete(token_ids(m, path, PROMPT), GREEDY_TOKENS, free=True)["tokens"]
    return {"equal": equal_start(theirs, tokens[m.args.device]), "of": GREEDY_TOKENS, "tokens": theirs}
  attempt(results, name, "greedy tokens, CPU and GPU", greedy)
  attempt(results, name, "greedy tokens, tern and peer", against_peer)
  attempt(results, name, "teacher-forced, CPU and GPU",
          lambda: parity(m, path, "--new-tokens", str(GREEDY_TOKENS), "--context", "512"))


def together(m, results, name, path, sequences, prompt, new, work):
  """tern: the command with several inputs, which it decodes in one batch; a short and a long run, so that opening and
  the first step's planning drop out."""
  row = results.row(f"{name}, {sequences} sequences decoded together, {new} tokens each", "tokens/s, all", True)
  row["cost"] = (work.bytes_per_token(0) / sequences + work.bytes_per_token(prompt + new // 2) -
                 work.bytes_per_token(0)) * 1e-9, "GB/s"
  short = max(2, new // 8)

  def tern():
    ms = {}
    for n in (short, new):
      t = tern_generate(m, path, [words(prompt, i) for i in range(sequences)], n, prompt + new + 64)[0]["timings"]
      ms[n] = t["decode_ms"]
    return [sequences * (new - short) * 1e3 / (ms[new] - ms[short])]
  with Server(m, path, prompt + new + 64, sequences) as server:
    def peer():
      prompts = [made_up_ids(prompt, i) for i in range(sequences)]
      answers = server.together(prompts, new)
      return [sum(a["timings"]["predicted_per_second"] for a in answers)]

    def warm_up():
      server.together([made_up_ids(prompt, i) for i in range(sequences)], short)
    try:
      warm_up()
    except Failure as error:
      print(f"  {error}", file=sys.stderr)  # the row says it
    alternate(m, results, [row], {TERN: tern, PEER: peer})


def first_token(m, results, name, path, prompt, cold, rounds):
  state = "no caches" if cold else "caches warm"
  row = results.row(f"{name}, process start to first token, prompt of {prompt}, {state}", "ms", False)
  context, text = prompt + 64, words(prompt)
  ids = token_ids(m, path, text)

  def environment():
    if not cold:
      return m.environment(m.caches)
    return m.environment(tempfile.mkdtemp(prefix="cold-", dir=m.args.work), cold=True)

  def tern():
    ms, row["prompt_tokens"] = tern_first_token(m, path, text, context, environment())
    return [ms]

  def peer():
    with Server(m, path, context, env=environment(), warm_up=False) as server:
      begin = time.perf_counter()
      row["peer_prompt_tokens"] = server.complete(ids, 1, 180).get("tokens_evaluated")
      return [(time.perf_counter() - begin) * 1e3]
  if not cold:
    for side in (tern, peer):
      try:
        side()
      except Failure as error:
        print(f"  {error}", file=sys.stderr)
  alternate(m, results, [row], {TERN: tern, PEER: peer}, rounds)


def minilm(m, results, folder, batch, length):
  row = results.row(f"MiniLM fp16, {batch} x {length}, outputs in host memory", "ms", False, TORCH,
                    "random weights, not the same in both; PyTorch with transformers, float16, CUDA")
  shape = f"{batch}x{length}:int64"

  def tern():
    inputs = [f"--input={name}={shape}" for name in ("input_ids", "attention_mask", "token_type_ids")]
    found = m.json("tern-minilm", [m.tern, "bench", "--model", folder, "--dtype", "fp16", "--device", m.args.device,
                                   "--repeat", "10", "--json", *inputs], 90)
    return [found["latency_ms"]["median"]]

  def torch():
    found = m.json("torch-minilm", [sys.executable, os.path.join(HERE, "peer_torch.py"), folder, str(batch),
                                    str(length)], 90, dict(os.environ))
    row["peer_without_copy_ms"] = found["device_ms"]
    return [found["host_ms"]]
  alternate(m, results, [row], {TERN: tern, TORCH: torch}, min(2, m.args.rounds))
  attempt(results, "MiniLM fp16", "embeddings, CPU and GPU", lambda: parity(m, folder, "--dtype", "fp16"))


def profiles(m, results, cases):
  """Where tern's time goes, kernel by kernel."""
  found = results.header.setdefault("profiles", {})
  for name, path, prompt, new in cases:
    try:
      answer = m.json("tern-profile", [m.tern, "bench", "--model", path, "--device", m.args.device, "--prompt-tokens",
                                       str(prompt), "--new-tokens", str(new), "--context", str(prompt + new + 64),
                                       "--repeat", "1", "--profile", "--json"], 60)
      found[name] = answer.get("profile")
    except (Failure, ValueError, OSError) as error:
      found[name] = {"error": str(error)}
    results.save()

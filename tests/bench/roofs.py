"""The roof of this machine, measured in the same run as what is held to it, and whether a sample was disturbed.

roof.c does the measuring; it is built here for the processor that it runs on. What misleads on a virtual machine: at
times two of its processors are the two hardware threads of one core, so that they halve each other; the host takes
processor time away; memory is faster in one minute than in the next; and other programs run. `Roofs.watched` looks for
each around a sample.
"""
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import time

from llama_peer import CACHE, HERE

SOURCE = os.path.join(HERE, "roof.c")
TOGETHER = 0.8  # of what the threads multiply one by one: less is a core shared
STOLEN, OTHERS = 0.02, 0.05  # of all processors' time while a sample ran
APART = 1.25  # read bandwidths that differ by less are one class


def processor():
  """Its name, and what it can do (Linux tells both)."""
  facts = {}
  with open("/proc/cpuinfo", encoding="utf-8") as f:
    for line in f:
      key, _, value = line.partition(":")
      facts.setdefault(key.strip(), value.strip())
  return facts.get("model name", platform.machine()), facts.get("flags", facts.get("Features", ""))


def build():
  """The program, in the cache under a name that says of which source and for which processor it is."""
  with open(SOURCE, "rb") as f:
    digest = hashlib.sha256(f.read() + " ".join(processor()).encode()).hexdigest()[:16]
  program = os.path.join(CACHE, "bench", f"roof-{digest}")
  if not os.path.exists(program):
    os.makedirs(os.path.dirname(program), exist_ok=True)
    native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", native, "-pthread", SOURCE, "-o",
                    program + ".part"], check=True)
    os.replace(program + ".part", program)
  return program


def processor_times():
  """Seconds of all processors since the start: (busy, stolen by the host)."""
  with open("/proc/stat", encoding="utf-8") as f:
    user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
  tick = os.sysconf("SC_CLK_TCK")
  return (user + nice + system + irq + softirq) / tick, steal / tick


def own_time():
  """Seconds of processor time of this process and of the children that have ended."""
  return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


class Roofs:
  """roof.c kept open for a run."""

  def __init__(self, threads):
    self.threads = threads
    self.process = subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.process.stdin.close()
    self.process.wait()
    self.process.stdout.close()

  def ask(self, what, *numbers):
    self.process.stdin.write(" ".join(map(str, (what, self.threads, *numbers))) + "\n")
    self.process.stdin.flush()
    answer = self.process.stdout.readline()
    if not answer:
      raise RuntimeError(f"roof.c ended while asked for '{what}'")
    return json.loads(answer)

  def peaks(self):
    """element -> instruction -> (GOPS on one thread, on all)."""
    found = {}
    for p in self.ask("peaks")["peaks"]:
      found.setdefault(p["element"], {})[p["instruction"]] = (p["gops_1"], p["gops"])
    return found

  def read(self, n_bytes=0):
    """Reading n_bytes again and again, GB/s; 0: more than the caches hold."""
    return self.ask("read", int(n_bytes))

  def probe(self):
    return self.ask("probe")

  def watched(self, run):
    """Runs it. {"figures", "read_gbps", "disturbed": what disturbed it, "probes"}."""
    before, cpus = self.probe(), os.cpu_count()
    start, (busy, stolen), own = time.perf_counter(), processor_times(), own_time()
    figures = run()
    elapsed, (busy_after, stolen_after), own_after = time.perf_counter() - start, processor_times(), own_time()
    after = self.probe()
    stolen = (stolen_after - stolen) / (elapsed * cpus)
    # roof.c is asleep meanwhile; what ran and is not ours is another program's
    others = max(0, (busy_after - busy) - (own_after - own)) / (elapsed * cpus)
    together = min(before["together"], after["together"])
    disturbed = [what for what, is_so in (("one core for two threads", together < TOGETHER),
                                          ("time taken by the host", stolen > STOLEN),
                                          ("other programs", others > OTHERS)) if is_so]
    return {"figures": figures, "read_gbps": (before["gbps"] + after["gbps"]) / 2, "disturbed": disturbed,
            "probes": {"together": [before["together"], after["together"]], "gbps": [before["gbps"], after["gbps"]],
                       "stolen": round(stolen, 4), "others": round(others, 4), "seconds": round(elapsed, 2)}}


def main():
  """The options of `tern bench --profile` for this machine."""
  threads = len(os.sched_getaffinity(0))
  with Roofs(threads) as roofs:
    peaks, read = roofs.peaks(), roofs.read()
  for element, by_name in peaks.items():
    for name, (_, gops) in by_name.items():
      print(f"{element}, {name}: --roof-gops {gops:.0f}")
  print(f"plain reads beyond the caches: --roof-gbps {read['gbps']:.1f}    ({threads} threads)")


def undisturbed(samples):
  """Those that nothing disturbed; all of them where these are fewer than half."""
  clean = [s for s in samples if not s["disturbed"]]
  return clean if 2 * len(clean) >= len(samples) else samples


def split_by_bandwidth(samples):
  """The samples as one class, or as two where memory was at two speeds: [(class, samples)]. Cut at the widest gap."""
  ordered = sorted(samples, key=lambda s: s["read_gbps"])
  rates = [s["read_gbps"] for s in ordered]
  if len(rates) < 2 or rates[-1] < APART * rates[0]:
    return [("all", ordered)]
  cut = max(range(1, len(rates)), key=lambda i: rates[i] / rates[i - 1])
  return [("slow memory", ordered[:cut]), ("fast memory", ordered[cut:])]


def median_peaks(list_of_peaks):
  """element -> instruction -> [GOPS on one thread, on all], medians of several Roofs.peaks()."""
  return {element: {name: [statistics.median(p[element][name][i] for p in list_of_peaks) for i in (0, 1)]
                    for name in by_name} for element, by_name in list_of_peaks[0].items()}


if __name__ == "__main__":
  main()

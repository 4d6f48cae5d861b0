// Runs a test program of a WebAssembly build under node: run_wasm.mjs PROGRAM.wasm [arguments]. A Criterion
// program is asked for its tests, and each gets an instance of its own, as a process would; any other is run
// once.
import {readFileSync, existsSync, statSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {fileURLToPath} from 'node:url';
import {WASI} from 'node:wasi';
import {Worker, isMainThread, parentPort, workerData} from 'node:worker_threads';

const POOL_THREADS = 3; // tests use up to four threads
const STACK_SIZE = 1 << 20;

/** The imports of module "tern" (sdk/base/host_wasm.h) over node's file system. */
function hostImports(memory, exports, startThread) {
  const loaded = new Map();
  const path = (at, size) => Buffer.from(new Uint8Array(memory(), at, size).slice()).toString();
  const load = name => {
    if (loaded.has(name)) return loaded.get(name);
    const bytes = readFileSync(name),
      at = exports().aligned_alloc(64, (bytes.length + 63) & ~63);
    new Uint8Array(memory(), at, bytes.length).set(bytes);
    const entry = [at, bytes.length];
    loaded.set(name, entry);
    return entry;
  };
  return {
    file(at, size, out) {
      const name = path(at, size);
      if (!existsSync(name)) return 0;
      if (statSync(name).isDirectory()) return 2;
      if (!out) return 1;
      const [data, length] = load(name);
      new Uint32Array(memory(), out, 2).set([data, length]);
      return 1;
    },
    now: () => performance.now(),
    cpus: () => (startThread ? Math.min(availableParallelism(), POOL_THREADS + 1) : 1),
    cancelled: () => 0,
    thread: startThread ?? (() => 0),
  };
}

/** The imports of module "tern_gpu": node has no WebGPU. */
const noGpu = memory =>
  new Proxy({}, {get: (_, name) => at => (name === 'error' ? void (new Uint8Array(memory(), at, 1)[0] = 0) : 50)});

/** Enough of WASI for a thread or a program with shared memory, which node's own does not take. */
function plainWasi(memory, args, write = chunk => process.stdout.write(chunk)) {
  const bytes = args.map(a => Buffer.from(a + '\0'));
  const u32 = (at, ...values) => new Uint32Array(memory(), at, values.length).set(values);
  const calls = {
    fd_write(fd, list, count, written) {
      let n = 0;
      for (let i = 0; i < count; i++) {
        const [at, size] = new Uint32Array(memory(), list + 8 * i, 2);
        write(Buffer.from(new Uint8Array(memory(), at, size).slice()));
        n += size;
      }
      u32(written, n);
      return 0;
    },
    args_sizes_get: (count, size) => (
      u32(count, bytes.length),
      u32(
        size,
        bytes.reduce((n, b) => n + b.length, 0),
      ),
      0
    ),
    args_get(list, at) {
      for (const b of bytes) {
        u32(list, at);
        new Uint8Array(memory(), at, b.length).set(b);
        ((list += 4), (at += b.length));
      }
      return 0;
    },
    environ_sizes_get: (count, size) => (u32(count, 0), u32(size, 0), 0),
    environ_get: () => 0,
    clock_time_get: (_id, _precision, out) => (
      new BigUint64Array(memory(), out, 1).set([process.hrtime.bigint()]),
      0
    ),
    proc_exit(code) {
      throw new Exit(code);
    },
    fd_fdstat_get: (fd, out) => (new Uint8Array(memory(), out, 24).fill(0).set([2]), fd < 3 ? 0 : 8),
  };
  return new Proxy(calls, {get: (target, name) => target[name] ?? (() => 8) /* EBADF */});
}

class Exit extends Error {
  constructor(code) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** Calls main; returns its exit code. */
function start(instance) {
  try {
    instance.exports._start();
  } catch (error) {
    if (error instanceof Exit) return error.code;
    throw error;
  }
  return 0;
}

async function runShared(module, args) {
  const memory = new WebAssembly.Memory({initial: 512, maximum: 65535, shared: true});
  let instance;
  const threads = []; // {worker, busy: address of a word, tls, top}
  for (let i = 0; i < POOL_THREADS; i++)
    await new Promise((ready, failed) => {
      const worker = new Worker(fileURLToPath(import.meta.url), {workerData: {module, memory}});
      (worker.once('message', ready), worker.once('error', failed));
      worker.postMessage('hello'); // answered by its event loop: from then on it needs nothing of ours
      threads.push({worker});
    });
  // Pools come and go in a test: a thread that has ended is taken again, and one that is about to end is waited for.
  const startThread = thread => {
    const words = new Int32Array(memory.buffer);
    for (const wait of [0, 200])
      for (const t of threads) {
        if (wait) Atomics.wait(words, t.busy >> 2, 1, wait);
        if (Atomics.compareExchange(words, t.busy >> 2, 0, 1)) continue;
        t.worker.postMessage({thread, busy: t.busy, tls: t.tls, top: t.top});
        return 1;
      }
    return 0;
  };
  const tern = hostImports(
    () => memory.buffer,
    () => instance.exports,
    startThread,
  );
  const wasi = plainWasi(() => memory.buffer, args);
  instance = new WebAssembly.Instance(module, {
    env: {memory},
    tern,
    tern_gpu: noGpu(() => memory.buffer),
    wasi_snapshot_preview1: wasi,
  });
  const tls = (instance.exports.__tls_size.value + 63) & ~63;
  for (const t of threads) {
    const at = instance.exports.aligned_alloc(64, 64 + tls + STACK_SIZE);
    new Int32Array(memory.buffer)[at >> 2] = 0;
    Object.assign(t, {busy: at, tls: at + 64, top: at + 64 + tls + STACK_SIZE});
  }
  try {
    return start(instance);
  } finally {
    for (const {worker} of threads) await worker.terminate();
  }
}

function runAlone(module, args) {
  let instance;
  const wasi = new WASI({version: 'preview1', args, preopens: {'/': '/'}, returnOnExit: true});
  const tern = hostImports(
    () => instance.exports.memory.buffer,
    () => instance.exports,
  );
  instance = new WebAssembly.Instance(module, {
    tern,
    tern_gpu: noGpu(() => instance.exports.memory.buffer),
    wasi_snapshot_preview1: wasi.wasiImport,
  });
  return wasi.start(instance);
}

const isShared = module => WebAssembly.Module.imports(module).some(i => i.kind === 'memory');

/** What main prints when it gets no arguments: in a Criterion program, its tests. */
function listTests(module, program) {
  const lines = [];
  let instance;
  const memory = isShared(module) && new WebAssembly.Memory({initial: 512, maximum: 65535, shared: true});
  const buffer = () => (memory || instance.exports.memory).buffer;
  const tern = hostImports(buffer, () => instance.exports);
  const wasi = plainWasi(buffer, [program], chunk => lines.push(chunk.toString()));
  instance = new WebAssembly.Instance(module, {
    env: {memory},
    tern,
    tern_gpu: noGpu(buffer),
    wasi_snapshot_preview1: wasi,
  });
  start(instance);
  return lines.join('').split('\n').filter(Boolean);
}

async function main() {
  const [program, ...args] = process.argv.slice(2);
  const module = new WebAssembly.Module(readFileSync(program));
  const run = isShared(module) ? runShared : runAlone;
  const isCriterion = WebAssembly.Module.exports(module).some(e => e.name === 'criterion_lite');
  if (!isCriterion || args[0] === '--filter') process.exit(await run(module, [program, ...args]));
  const names = listTests(module, program);
  let failed = 0,
    skipped = 0;
  for (const name of names) {
    let code = 1;
    try {
      code = await run(module, [program, '--filter', name]);
    } catch (error) {
      console.log(error.stack);
    }
    if (code === 77) skipped++;
    else if (code) (failed++, console.log(`[FAIL] ${name}`));
  }
  console.log(
    `[====] Synthesis: Tested: ${names.length} | Passing: ${names.length - failed - skipped} | ` +
      `Failing: ${failed} | Skipped: ${skipped}`,
  );
  process.exit(failed || !names.length ? 1 : 0);
}

function poolThread() {
  const {module, memory} = workerData;
  let instance;
  const tern = hostImports(
    () => memory.buffer,
    () => instance.exports,
  );
  const wasi = plainWasi(() => memory.buffer, []);
  instance = new WebAssembly.Instance(module, {
    env: {memory},
    tern,
    tern_gpu: noGpu(() => memory.buffer),
    wasi_snapshot_preview1: wasi,
  });
  parentPort.on('message', task => {
    if (task === 'hello') return parentPort.postMessage('ready');
    instance.exports.__stack_pointer.value = task.top;
    instance.exports.__wasm_init_tls(task.tls);
    instance.exports.tern__thread_main(task.thread);
    Atomics.store(new Int32Array(memory.buffer), task.busy >> 2, 0);
    Atomics.notify(new Int32Array(memory.buffer), task.busy >> 2);
  });
}

if (isMainThread) await main();
else poolThread();

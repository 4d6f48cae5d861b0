// In a page: runs a test program (a WASI command) over a WebGPU device. It may print, and has arguments; nothing else.

class Exit extends Error {
  constructor(code) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** Calls main with a device of its own; returns its exit code. say(text): what it prints. options: of Gpu.request. */
export async function runProgram(url, args, {say, options}) {
  const {Gpu} = await import('/dist/gpu.js');
  const gpu = await Gpu.request(options);
  let memory;
  const decoder = new TextDecoder(),
    words = [new URL(url, document.baseURI).pathname, ...args].map(a => new TextEncoder().encode(a + '\0')),
    view = () => new DataView(memory.buffer),
    bytes = (at, size) => new Uint8Array(memory.buffer, at >>> 0, size);
  const put = (at, ...values) => values.forEach((v, i) => view().setUint32(at + 4 * i, v, true));
  const text = (at, size) => decoder.decode(bytes(at, size));
  const host = {view, bytes, text, string: at => text(at, bytes(at).indexOf(0))};
  const wasi = {
    fd_write(_fd, list, count, written) {
      let n = 0;
      for (let i = 0; i < count; i++) {
        const [at, size] = [0, 4].map(k => view().getUint32(list + 8 * i + k, true));
        say(text(at, size));
        n += size;
      }
      put(written, n);
      return 0;
    },
    args_sizes_get: (count, size) => (
      put(count, words.length),
      put(
        size,
        words.reduce((n, w) => n + w.length, 0),
      ),
      0
    ),
    args_get(list, at) {
      for (const word of words) {
        put(list, at);
        bytes(at, word.length).set(word);
        ((list += 4), (at += word.length));
      }
      return 0;
    },
    environ_sizes_get: (count, size) => (put(count, 0), put(size, 0), 0),
    environ_get: () => 0,
    clock_time_get: (_id, _precision, out) => (
      view().setBigUint64(out, BigInt(Math.round(Date.now() * 1e6)), true),
      0
    ),
    fd_fdstat_get: (fd, out) => (bytes(out, 24).fill(0), (bytes(out, 1)[0] = 2), fd < 3 ? 0 : 8),
    proc_exit(code) {
      throw new Exit(code);
    },
  };
  const {instance} = await WebAssembly.instantiateStreaming(fetch(url), {
    tern: {file: () => 0, now: () => performance.now(), cpus: () => 1, thread: () => 0, cancelled: () => 0},
    tern_gpu: gpu.imports(host),
    wasi_snapshot_preview1: new Proxy(wasi, {get: (target, name) => target[name] ?? (() => 8) /* EBADF */}),
  });
  memory = instance.exports.memory;
  try {
    await WebAssembly.promising(instance.exports._start)();
  } catch (error) {
    if (error instanceof Exit) return error.code;
    throw error;
  } finally {
    gpu.destroy();
  }
  return 0;
}

// The C library in one WebAssembly instance: memory, structs, strings, callbacks, errors. Calls compute on
// the calling thread, which therefore is a Web Worker (worker.js) or node. Knows nothing of pages, networks
// or caches. Calls that may wait for a WebGPU device are asynchronous: one at a time, and no other call meanwhile.
import {constants, structs} from './abi.js';

const statusNames = Object.fromEntries(
  Object.entries(constants)
    .filter(([name]) => name.startsWith('TERN_STATUS_'))
    .map(([name, value]) => [value, name.slice('TERN_STATUS_'.length)]),
);
const encoder = new TextEncoder(),
  decoder = new TextDecoder();
const MAX_PAGES = 65535,
  CANCEL_POLL_MS = 10,
  STACK_BYTES = 1 << 20;
const BYTES = {pointer: 4, i32: 4, u32: 4, f32: 4, i64: 8, u64: 8, f64: 8};
const SET = {
  pointer: 'setUint32',
  i32: 'setInt32',
  u32: 'setUint32',
  f32: 'setFloat32',
  i64: 'setBigInt64',
  u64: 'setBigUint64',
  f64: 'setFloat64',
};

/** A call that failed. `status` is the name in tern.h ("NOT_FOUND"); the message says what, where and what to try. */
export class TernError extends Error {
  constructor(status, message) {
    super(message);
    this.name = 'TernError';
    this.status = status;
  }
}

/** Shared memory for a module built with threads; a browser that refuses 4 GiB of addresses is asked for less. */
export function createSharedMemory(initial = 512) {
  for (let maximum = MAX_PAGES; ; maximum = maximum >> 1) {
    try {
      return new WebAssembly.Memory({initial, maximum, shared: true});
    } catch (error) {
      if (maximum < 4096) throw error;
    }
  }
}

/** The imports of module "tern_gpu" without a device: to open it fails, for the reason given. */
function noGpuImports(reason, bytes) {
  const calls = {
    open: () => constants.TERN_STATUS_NO_DEVICE,
    error(at, capacity) {
      const text = encoder.encode(reason).subarray(0, capacity - 1);
      bytes(at, text.length + 1).set([...text, 0]);
    },
  };
  return new Proxy(calls, {get: (target, name) => target[name] ?? calls.open});
}

/** The imports that a thread of the pool needs: it computes, and asks for nothing. */
function poolImports(memory) {
  const none = () => 0;
  return {
    env: {memory},
    tern: {
      file: none,
      cpus: () => 1,
      thread: none,
      cancelled: none,
      on_text: none,
      on_progress: none,
      on_log: none,
      now: () => performance.now(),
    },
    tern_gpu: noGpuImports('', () => new Uint8Array(0)), // the device is called by the thread that opened it alone
    wasi_snapshot_preview1: {clock_time_get: () => 52 /* ENOSYS: nothing on this thread tells the time of day */},
  };
}

/** On a thread of the pool: readies an instance over the shared memory; returns what runs one C thread in it. */
export async function createPoolThread(module, memory) {
  const instance = await WebAssembly.instantiate(module, poolImports(memory));
  return ({thread, tls, stackTop}) => {
    instance.exports.__stack_pointer.value = stackTop;
    instance.exports.__wasm_init_tls(tls);
    instance.exports.tern__thread_main(thread);
  };
}

export class Engine {
  #files = new Map(); // path -> {at, size}
  #folders = new Set();
  #cancels = new Map(); // address of a tern_cancel -> {wanted, nextPoll, found}
  #callbacks = new Map(); // user_data -> function
  #nextCallback = 1;
  #threads = []; // idle threads: functions that make one run a C thread

  /** threads: for a module with shared memory, functions ({thread, tls, stackTop}) => void, one per thread that has
   *  readied itself by createPoolThread. gpu: a Gpu (gpu.js), or the sentence that says why there is none. */
  static async create({module, memory, threads = [], log, gpu = 'no WebGPU device was given to Engine.create'}) {
    const engine = new Engine();
    engine.log = log;
    engine.gpu = typeof gpu === 'string' ? null : gpu;
    engine.instance = await WebAssembly.instantiate(module, {
      ...engine.#imports(memory),
      tern_gpu: engine.gpu ? engine.gpu.imports(engine) : noGpuImports(gpu, (at, size) => engine.bytes(at, size)),
    });
    engine.c = engine.instance.exports;
    engine.memory = memory ?? engine.c.memory;
    engine.c._initialize();
    for (const start of threads) engine.#threads.push(engine.#withStack(start));
    engine.runtime = engine.scope(s => {
      const desc = s.struct('tern_runtime_desc', {n_threads: threads.length + 1});
      engine.c.tern_web_set_log(desc + structs.tern_runtime_desc.fields.log.at);
      return s.create(out => engine.c.tern_runtime_create(desc, out));
    });
    return engine;
  }

  /** An export that may wait for the device: its promise then; else what it returns, at once. */
  #waiting(name, ...args) {
    return this.gpu ? WebAssembly.promising(this.c[name])(...args) : this.c[name](...args);
  }

  #imports(memory) {
    return {
      env: {memory},
      tern: {
        file: (path, size, out) => this.#findFile(this.text(path, size), out),
        now: () => performance.now(),
        cpus: () => this.#threads.length + 1,
        thread: thread => this.#startThread(thread),
        cancelled: token => this.#isCancelled(token),
        on_text: (id, text, size, token) => (this.#callbacks.get(id)(this.text(text, size), token) ? 1 : 0),
        on_progress: (id, phase, done, total) => (this.#callbacks.get(id)(this.string(phase), done, total) ? 1 : 0),
        on_log: (level, text) => this.log?.(level, this.string(text)),
      },
      wasi_snapshot_preview1: {
        clock_time_get: (_clock, _precision, out) => {
          this.view().setBigUint64(out >>> 0, BigInt(Math.round(Date.now() * 1e6)), true);
          return 0;
        },
      },
    };
  }

  // ---- threads ----

  #withStack(start) {
    const tls = (this.c.__tls_size.value + 63) & ~63,
      at = this.alloc(tls + STACK_BYTES);
    return thread => start({thread, tls: at, stackTop: at + tls + STACK_BYTES});
  }

  #startThread(thread) {
    const start = this.#threads.shift();
    start?.(thread);
    return start ? 1 : 0;
  }

  // ---- memory ----

  /** Views are made anew for each use: memory that grows gets a new buffer. */
  view() {
    return new DataView(this.memory.buffer);
  }
  bytes(at, size) {
    return new Uint8Array(this.memory.buffer, at >>> 0, size);
  }

  alloc(size) {
    const at = this.c.tern_web_alloc(size) >>> 0;
    if (!at)
      throw new TernError(
        'OUT_OF_MEMORY',
        `WebAssembly memory has no room for ${size} more bytes ` +
          `(${this.memory.buffer.byteLength} are in use); use a smaller model or dtype`,
      );
    return at;
  }
  free(at, size) {
    this.c.tern_web_free(at, size);
  }

  /** A copy as text: decoders refuse shared memory. */
  text(at, size) {
    return decoder.decode(this.bytes(at, size).slice());
  }
  string(at) {
    if (!at) return '';
    const all = new Uint8Array(this.memory.buffer);
    return this.text(at, all.indexOf(0, at >>> 0) - (at >>> 0));
  }

  /** Calls fn with a helper whose memory is free again afterwards. */
  scope(fn) {
    const scope = new Scope(this);
    try {
      return fn(scope);
    } finally {
      scope.free();
    }
  }

  async #scopeAsync(fn) {
    const scope = new Scope(this);
    try {
      return await fn(scope);
    } finally {
      scope.free();
    }
  }

  check(status) {
    if (status === constants.TERN_STATUS_OK) return;
    const message = this.string(this.c.tern_last_error()) || this.string(this.c.tern_status_text(status));
    throw new TernError(statusNames[status] ?? `status ${status}`, message);
  }

  /** A struct's fields as an object; 64-bit integers become numbers. */
  readStruct(name, at) {
    const view = this.view(),
      result = {};
    for (const [field, {at: offset, kind}] of Object.entries(structs[name].fields)) {
      const get = SET[kind]?.replace('set', 'get');
      if (get) result[field] = Number(view[get](at + offset, true));
    }
    delete result.struct_size;
    return result;
  }

  // ---- files: what base/host_wasm.h asks for ----

  /** Room for a file's bytes; the caller fills bytes(at, size). The file is there from now on, until removeFiles. */
  addFile(path, size) {
    const at = this.alloc(size);
    this.#files.set(path, {at, size});
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1))
      this.#folders.add(path.slice(0, end));
    return at;
  }

  removeFiles() {
    for (const {at, size} of this.#files.values()) this.free(at, size);
    this.#files.clear();
    this.#folders.clear();
  }

  #findFile(path, out) {
    const file = this.#files.get(path);
    if (!file) return this.#folders.has(path.replace(/\/$/, '')) ? 2 : 0;
    if (out) new Uint32Array(this.memory.buffer, out >>> 0, 2).set([file.at, file.size]);
    return 1;
  }

  // ---- callbacks and cancellation ----

  /** Calls fn(id) with an id that a struct's user_data may hold. */
  async #withCallback(callback, fn) {
    const id = this.#nextCallback++;
    this.#callbacks.set(id, callback);
    try {
      return await fn(id);
    } finally {
      this.#callbacks.delete(id);
    }
  }

  #isCancelled(token) {
    const cancel = this.#cancels.get(token);
    if (!cancel || cancel.found) return cancel ? 1 : 0;
    const now = performance.now();
    if (now < cancel.nextPoll) return 0;
    cancel.found = cancel.wanted();
    cancel.nextPoll = performance.now() + Math.max(CANCEL_POLL_MS, 30 * (performance.now() - now)); // at most 3 % of the time
    return cancel.found ? 1 : 0;
  }

  /** Calls fn(address of a token); `wanted()` is asked now and then whether to stop, and must be quick. */
  async #withCancel(wanted, fn) {
    if (!wanted) return fn(0);
    return this.#scopeAsync(async s => {
      const token = s.create(out => this.c.tern_cancel_create(out));
      this.#cancels.set(token, {wanted, nextPoll: 0, found: false});
      try {
        return await fn(token);
      } finally {
        this.#cancels.delete(token);
        this.c.tern_cancel_destroy(token);
      }
    });
  }

  // ---- tasks ----

  /** Opens a task over files that were added. progress(phase, done, total) returns true to stop. fallback: a device
   *  that fails is left for the CPU. */
  async openPipeline({task, path, dtype, fileName, device, numerics = 'fast', contextLength = 0, ...rest}) {
    const {fallback = false, profile = false, progress, cancelled} = rest;
    const {TERN_SESSION_FALLBACK_CPU, TERN_SESSION_PROFILE} = constants;
    const kinds = {fast: constants.TERN_NUMERICS_FAST, consistent: constants.TERN_NUMERICS_CONSISTENT};
    if (!(numerics in kinds))
      throw new TernError('INVALID_ARGUMENT', `numerics '${numerics}' is neither fast nor consistent`);
    return this.#withCancel(cancelled, cancel =>
      this.#withCallback(progress ?? (() => false), id =>
        this.#scopeAsync(async s => {
          const desc = s.struct('tern_pipeline_desc', {
            task: s.string(task),
            path: s.string(path),
            dtype: s.string(dtype),
            file_name: s.string(fileName),
            session: {
              struct_size: structs.tern_session_desc.size,
              device: s.string(device),
              numerics: kinds[numerics],
              context_length: contextLength,
              flags: (fallback ? TERN_SESSION_FALLBACK_CPU : 0) | (profile ? TERN_SESSION_PROFILE : 0),
            },
            progress: {user_data: id},
            cancel,
          });
          this.c.tern_web_set_progress(desc + structs.tern_pipeline_desc.fields.progress.at);
          return s.createAsync(out => this.#waiting('tern_pipeline_open', this.runtime, desc, out));
        }),
      ),
    );
  }

  closePipeline(pipeline) {
    this.c.tern_pipeline_close(pipeline);
  }

  /** Runs with members of tern_run_desc (texts and stop: arrays of strings; chat_json, on_text: string, function). Returns
   *  {count, json, text, tokens, finishReason, tensor, timings} through `read`, whose result is returned. */
  async run(pipeline, {texts, stop, chat_json, on_text, cancelled, ...members}, read = r => r) {
    return this.#withCancel(cancelled, cancel =>
      this.#withCallback(on_text ?? (() => false), id =>
        this.#scopeAsync(async s => {
          const desc = s.struct('tern_run_desc', {
            ...members,
            cancel,
            chat_json: s.string(chat_json),
            n_texts: texts?.length ?? 0,
            texts: s.strings(texts),
            n_stop: stop?.length ?? 0,
            stop: s.strings(stop),
            on_text: {user_data: id},
          });
          if (on_text) this.c.tern_web_set_text(desc + structs.tern_run_desc.fields.on_text.at);
          const result = await s.createAsync(out => this.#waiting('tern_pipeline_run', pipeline, desc, out));
          try {
            return read(new Result(this, result));
          } finally {
            this.c.tern_result_destroy(result);
          }
        }),
      ),
    );
  }

  describe(pipeline) {
    return JSON.parse(this.string(this.c.tern_model_json(this.c.tern_pipeline_model(pipeline))));
  }

  /** Where the last run's work was done (tern_session_profile in tern.h); null before the first one. */
  profile(pipeline) {
    return JSON.parse(this.string(this.c.tern_pipeline_profile(pipeline)) || 'null');
  }

  /** All that this build has here; opens them, and so may wait. */
  async devices() {
    const count = await this.#waiting('tern_runtime_device_count', this.runtime);
    return Array.from({length: count}, (_, i) =>
      this.scope(s => {
        const info = s.struct('tern_device_info', {}),
          {name, description} = structs.tern_device_info.fields;
        this.check(this.c.tern_runtime_device(this.runtime, i, info));
        const text = field => this.string(this.view().getUint32(info + field.at, true));
        return {name: text(name), description: text(description)};
      }),
    );
  }

  memoryUse() {
    return this.scope(s => {
      const live = s.alloc(8),
        peak = s.alloc(8);
      this.c.tern_runtime_memory(this.runtime, live, peak);
      const number = at => Number(this.view().getBigUint64(at, true));
      return {live: number(live), peak: number(peak), wasm: this.memory.buffer.byteLength};
    });
  }

  // ---- tokenizer ----

  encode(pipeline, text, flags = 0) {
    const tokenizer = this.c.tern_pipeline_tokenizer(pipeline);
    return this.scope(s => {
      const bytes = encoder.encode(text),
        at = s.bytes(bytes),
        n = s.alloc(4);
      const call = (ids, capacity) =>
        this.check(this.c.tern_tokenizer_encode(tokenizer, at, bytes.length, flags, ids, capacity, n));
      call(0, 0);
      const count = this.view().getUint32(n, true),
        ids = s.alloc(4 * count + 4);
      call(ids, count);
      return Array.from(new Int32Array(this.memory.buffer, ids, count));
    });
  }

  decode(pipeline, tokens, flags = 0) {
    const tokenizer = this.c.tern_pipeline_tokenizer(pipeline);
    return this.scope(s => {
      const ids = s.alloc(4 * tokens.length + 4);
      new Int32Array(this.memory.buffer, ids, tokens.length).set(tokens);
      return s.sized((out, capacity, n) =>
        this.c.tern_tokenizer_decode(tokenizer, ids, tokens.length, flags, out, capacity, n),
      );
    });
  }

  applyChatTemplate(pipeline, messages, addGenerationPrompt = true) {
    const tokenizer = this.c.tern_pipeline_tokenizer(pipeline);
    return this.scope(s => {
      const json = s.string(JSON.stringify(messages));
      return s.sized((out, capacity, n) =>
        this.c.tern_tokenizer_chat(tokenizer, json, addGenerationPrompt ? 1 : 0, out, capacity, n),
      );
    });
  }
}

/** What a run gave, valid inside the `read` of Engine.run. */
class Result {
  constructor(engine, at) {
    ((this.engine = engine), (this.at = at));
  }
  get count() {
    return this.engine.c.tern_result_count(this.at);
  }
  get json() {
    return JSON.parse(this.engine.string(this.engine.c.tern_result_json(this.at)));
  }
  finishReason(i) {
    return this.engine.string(this.engine.c.tern_result_finish_reason(this.at, i));
  }

  text(i) {
    return this.engine.scope(s => {
      const n = s.alloc(4),
        at = this.engine.c.tern_result_text(this.at, i, n);
      return this.engine.text(at, this.engine.view().getUint32(n, true));
    });
  }

  tokens(i) {
    return this.engine.scope(s => {
      const n = s.alloc(4),
        at = this.engine.c.tern_result_tokens(this.at, i, n);
      return Array.from(new Int32Array(this.engine.memory.buffer, at, this.engine.view().getUint32(n, true)));
    });
  }

  /** {dims, data}: a copy. */
  get tensor() {
    const c = this.engine.c,
      tensor = c.tern_result_tensor(this.at);
    const rank = c.tern_tensor_rank(tensor),
      at = c.tern_tensor_dims(tensor) >>> 0;
    const dims = Array.from({length: rank}, (_, i) => Number(this.engine.view().getBigInt64(at + 8 * i, true)));
    const size = c.tern_tensor_size_bytes(tensor) / 4;
    return {dims, data: new Float32Array(this.engine.memory.buffer, c.tern_tensor_data(tensor) >>> 0, size).slice()};
  }

  get timings() {
    return this.engine.scope(s => {
      const timings = s.struct('tern_timings', {});
      this.engine.check(this.engine.c.tern_result_timings(this.at, timings));
      return this.engine.readStruct('tern_timings', timings);
    });
  }
}

/** Memory for the arguments of one call. */
class Scope {
  #blocks = [];
  constructor(engine) {
    this.engine = engine;
  }

  alloc(size) {
    const at = this.engine.alloc(size);
    this.#blocks.push([at, size]);
    return at;
  }
  free() {
    for (const [at, size] of this.#blocks) this.engine.free(at, size);
  }

  bytes(bytes) {
    const at = this.alloc(bytes.length);
    this.engine.bytes(at, bytes.length).set(bytes);
    return at;
  }

  /** NUL-terminated; 0 for undefined and null. */
  string(text) {
    if (text === undefined || text === null) return 0;
    if (typeof text !== 'string')
      throw new TernError('INVALID_ARGUMENT', `expected a string instead of ${typeof text}`);
    if (text.includes('\0')) throw new TernError('INVALID_ARGUMENT', 'a text holds a NUL character');
    return this.bytes(encoder.encode(text + '\0'));
  }

  strings(texts) {
    if (!texts?.length) return 0;
    const pointers = texts.map(t => this.string(t)),
      at = this.alloc(4 * pointers.length);
    new Uint32Array(this.engine.memory.buffer, at, pointers.length).set(pointers);
    return at;
  }

  /** A struct with struct_size set, every member that is not given zero. */
  struct(name, values) {
    const {size} = structs[name],
      at = this.alloc(size);
    this.engine.bytes(at, size).fill(0);
    this.#write(name, at, {struct_size: size, ...values});
    return at;
  }

  #write(name, at, values) {
    for (const [field, value] of Object.entries(values)) {
      const entry = structs[name].fields[field];
      if (!entry) throw new TernError('INVALID_ARGUMENT', `${name} has no member '${field}'`);
      if (entry.kind === 'struct') this.#write(entry.of, at + entry.at, value);
      else
        this.engine
          .view()
          [SET[entry.kind]](
            at + entry.at,
            BYTES[entry.kind] === 8 && entry.kind !== 'f64' ? BigInt(value) : value,
            true,
          );
    }
  }

  /** The handle that call(out) stores. */
  create(call) {
    const out = this.alloc(4);
    this.engine.check(call(out));
    return this.engine.view().getUint32(out, true);
  }

  async createAsync(call) {
    const out = this.alloc(4);
    this.engine.check(await call(out));
    return this.engine.view().getUint32(out, true);
  }

  /** Text from call(out, capacity, n), which is called again with enough room. */
  sized(call) {
    const n = this.alloc(4);
    this.engine.check(call(0, 0, n));
    const size = this.engine.view().getUint32(n, true),
      out = this.alloc(size + 1);
    this.engine.check(call(out, size + 1, n));
    return this.engine.text(out, size);
  }
}

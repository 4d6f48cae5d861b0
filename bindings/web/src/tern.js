// tern in a web page: pipeline(task, model, options) as in Transformers.js. Each pipeline has a Web Worker of
// its own, in which everything happens; dispose() ends it and gives all its memory back.
import {constants} from './abi.js';
import {TernError} from './engine.js';
import {openStore} from './store.js';

export {TernError};

/** Settings of the page, read when a pipeline opens. */
export const env = {
  /** Where tern.wasm and tern-threads.wasm lie; beside this module if not set. */
  wasmBase: new URL('./', import.meta.url).href,
  /** Threads of a pipeline whose options do not say; 0: as many as the page may use, at most 8. */
  threads: 0,
};

const POOLING = {
  none: constants.TERN_POOLING_NONE,
  mean: constants.TERN_POOLING_MEAN,
  cls: constants.TERN_POOLING_CLS,
  last: constants.TERN_POOLING_LAST,
  last_token: constants.TERN_POOLING_LAST,
};
const CONTEXT = {error: constants.TERN_CONTEXT_ERROR, shift: constants.TERN_CONTEXT_SHIFT};
const modules = new Map();

/** Compiled once per page, while it downloads. */
function compiled(url) {
  if (!modules.has(url)) {
    const fetched = fetch(url).then(response => {
      if (!response.ok)
        throw new TernError(
          'NOT_FOUND',
          `${url} answers ${response.status}; set env.wasmBase to the folder of tern.wasm`,
        );
      return response.headers.get('content-type') === 'application/wasm'
        ? WebAssembly.compileStreaming(response)
        : response.arrayBuffer().then(WebAssembly.compile);
    });
    fetched.catch(() => modules.delete(url));
    modules.set(url, fetched);
  }
  return modules.get(url);
}

/** Row-major numbers with their shape, as in Transformers.js. */
export class Tensor {
  constructor(type, data, dims) {
    ((this.type = type), (this.data = data), (this.dims = dims));
  }
  get size() {
    return this.data.length;
  }

  tolist() {
    let flat = Array.from(this.data);
    for (let d = this.dims.length - 1; d > 0; d--) {
      const n = this.dims[d];
      flat = Array.from({length: flat.length / n}, (_, i) => flat.slice(i * n, (i + 1) * n));
    }
    return flat;
  }

  *[Symbol.iterator]() {
    const [n, ...rest] = this.dims,
      size = this.data.length / n;
    for (let i = 0; i < n; i++)
      yield rest.length ? new Tensor(this.type, this.data.subarray(i * size, (i + 1) * size), rest) : this.data[i];
  }
}

/** Hands text on as it comes: {callback_function(text), token_callback_function([id]), skip_prompt}. */
export class TextStreamer {
  constructor(tokenizer, {skip_prompt = false, callback_function = console.log, token_callback_function} = {}) {
    Object.assign(this, {tokenizer, skip_prompt, callback_function, token_callback_function});
  }
  put(text, token) {
    this.token_callback_function?.([BigInt(token)]);
    if (text) this.callback_function(text);
  }
  end() {}
}

/** The page's end of a worker. */
class Connection {
  #worker = new Worker(new URL('./worker.js', import.meta.url), {type: 'module', name: 'tern'});
  #pending = new Map();
  #nextId = 1;
  #closed = null;

  constructor() {
    this.#worker.onmessage = ({data: {id, event, result, error}}) => {
      const call = this.#pending.get(id);
      if (event) return call?.onEvent?.(event);
      this.#pending.delete(id);
      if (error) call?.reject(Object.assign(new TernError(error.status, error.message), {cause: error.stack}));
      else call?.resolve(result);
    };
    this.#worker.onerror = event =>
      this.close(new TernError('INTERNAL', `the worker failed: ${event.message ?? 'it could not be loaded'}`));
  }

  async call(op, args, {signal, onEvent} = {}) {
    if (this.#closed) throw this.#closed;
    signal?.throwIfAborted();
    const id = this.#nextId++,
      cancel = signal && Connection.#cancelToken();
    const abort = () => {
      cancel.set();
      this.#worker.postMessage({id: 0, op: 'abort', target: id});
    };
    signal?.addEventListener('abort', abort);
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(id, {resolve, reject, onEvent});
        this.#worker.postMessage({id, op, ...args, cancel: cancel?.message});
      });
    } catch (error) {
      if (signal?.aborted && error.status === 'CANCELLED') throw signal.reason;
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      cancel?.release();
    }
  }

  /** What the worker can look at while it computes (worker.js, cancelCheck). */
  static #cancelToken() {
    if (globalThis.crossOriginIsolated) {
      const flag = new SharedArrayBuffer(4);
      return {message: {flag}, set: () => Atomics.store(new Int32Array(flag), 0, 1), release() {}};
    }
    const url = URL.createObjectURL(new Blob(['go on']));
    return {message: {url}, set: () => URL.revokeObjectURL(url), release: () => URL.revokeObjectURL(url)};
  }

  close(error = new TernError('INVALID_STATE', 'this pipeline was disposed of')) {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const {reject} of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

class Tokenizer {
  constructor(connection) {
    this.connection = connection;
  }
  encode(text, {add_special_tokens = true} = {}) {
    return this.connection.call('encode', {text, flags: add_special_tokens ? 0 : constants.TERN_TOKENIZE_NO_SPECIAL});
  }
  decode(tokens, {skip_special_tokens = false} = {}) {
    return this.connection.call('decode', {
      tokens: Array.from(tokens, Number),
      flags: skip_special_tokens ? constants.TERN_TOKENIZE_NO_SPECIAL : 0,
    });
  }
  apply_chat_template(messages, {add_generation_prompt = true} = {}) {
    return this.connection.call('chat', {messages, prompt: add_generation_prompt});
  }
}

/** Options that a task knows; any other is refused by name. */
function refuseUnknown(options, known) {
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new TernError('UNSUPPORTED', `option '${name}' is not supported; this task takes ${known.join(', ')}`);
}

const tasks = {
  'feature-extraction': async (pipe, input, options) => {
    refuseUnknown(options, ['pooling', 'normalize', 'signal']);
    const {pooling = 'none', normalize = false, signal} = options;
    if (!(pooling in POOLING))
      throw new TernError(
        'INVALID_ARGUMENT',
        `pooling '${pooling}' is not one of ${Object.keys(POOLING).join(', ')}`,
      );
    const members = {texts: [input].flat(), pooling: POOLING[pooling], normalize: normalize ? 1 : -1};
    const {data, dims, timings, device} = await pipe.connection.call('run', {members, tensor: true}, {signal});
    Object.assign(pipe, {timings, device});
    return new Tensor('float32', data, dims);
  },

  'text-generation': async (pipe, input, options) => {
    refuseUnknown(options, [
      'max_new_tokens',
      'do_sample',
      'temperature',
      'top_k',
      'top_p',
      'min_p',
      'repetition_penalty',
      'seed',
      'stop',
      'return_full_text',
      'ignore_eos',
      'context_policy',
      'prompt_lookup_num_tokens',
      'max_matching_ngram_size',
      'streamer',
      'on_text',
      'signal',
    ]);
    const {do_sample = false, streamer, on_text, signal, context_policy = 'error'} = options;
    if (!(context_policy in CONTEXT))
      throw new TernError('INVALID_ARGUMENT', `context_policy '${context_policy}' is neither error nor shift`);
    const isMessages = m => Array.isArray(m) && typeof m[0] === 'object' && 'role' in m[0];
    const chat = isMessages(input),
      {return_full_text = !chat} = options;
    if (!chat && [input].flat().some(x => typeof x !== 'string'))
      throw new TernError(
        'INVALID_ARGUMENT',
        'give a text, an array of texts, or one array of {role, content} messages',
      );
    const members = {
      ...(chat ? {chat_json: JSON.stringify(input)} : {texts: [input].flat()}),
      max_new_tokens: options.max_new_tokens ?? 256,
      stop: options.stop && [options.stop].flat(),
      temperature: do_sample ? (options.temperature ?? 1) : 0,
      top_k: do_sample ? (options.top_k ?? 50) : 0,
      top_p: do_sample ? (options.top_p ?? 0) : 0,
      min_p: do_sample ? (options.min_p ?? 0) : 0,
      repetition_penalty: options.repetition_penalty ?? 0,
      seed: options.seed ?? 0,
      return_full_text: return_full_text && !chat ? 1 : 0,
      ignore_eos: options.ignore_eos ? 1 : 0,
      context_policy: CONTEXT[context_policy],
      prompt_lookup_num_tokens: options.prompt_lookup_num_tokens ?? 0,
      max_matching_ngram_size: options.max_matching_ngram_size ?? 0,
    };
    if (streamer && !streamer.skip_prompt && typeof input === 'string') streamer.put(input, 0);
    const onEvent =
      (streamer || on_text) && (({text, token}) => (streamer?.put(text, token), on_text?.(text, token)));
    const {entries, timings, device} = await pipe.connection.call(
      'run',
      {members, streaming: !!onEvent},
      {signal, onEvent},
    );
    streamer?.end();
    Object.assign(pipe, {timings, device, outputs: entries});
    return entries.map(({text}) => ({generated_text: chat ? [...input, {role: 'assistant', content: text}] : text}));
  },
};

/** Opens a task over a model. The result is a function: await pipe(input, options). */
export async function pipeline(task, model, options = {}) {
  if (!(task in tasks))
    throw new TernError('UNSUPPORTED', `no task '${task}'; this build has: ${Object.keys(tasks).join(', ')}`);
  refuseUnknown(options, [
    'device',
    'fallback',
    'dtype',
    'model_file_name',
    'use_external_data_format',
    'numerics',
    'context_length',
    'threads',
    'profile',
    'cache',
    'progress_callback',
    'signal',
  ]);
  const {progress_callback, signal, threads = env.threads, ...rest} = options;
  const isolated = !!globalThis.crossOriginIsolated;
  const wanted = threads || Math.min(8, navigator.hardwareConcurrency || 1);
  if (threads > 1 && !isolated)
    throw new TernError(
      'UNSUPPORTED',
      `threads: ${threads} needs a cross-origin isolated page: serve it with the headers ` +
        'Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp',
    );
  const count = isolated ? wanted : 1;
  const module = await compiled(new URL(count > 1 ? 'tern-threads.wasm' : 'tern.wasm', env.wasmBase).href);
  const connection = new Connection();
  try {
    const url = typeof model === 'string' || model instanceof URL ? new URL(model, document.baseURI).href : model;
    const opened = await connection.call(
      'load',
      {module, threads: count, task, model: url, options: rest},
      {signal, onEvent: progress_callback},
    );
    progress_callback?.({status: 'ready', task, model: url});
    const pipe = (input, runOptions = {}) => tasks[task](pipe, input, runOptions);
    return Object.assign(pipe, {
      task,
      connection,
      ...opened,
      tokenizer: new Tokenizer(connection),
      memory: () => connection.call('memory', {}),
      profile: () => connection.call('profile', {}),
      dispose: async () => connection.close(),
    });
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Removes kept models whose URL starts with this one; all of them without one. kind: as the option `cache`. */
export async function clearCache(model = '', kind = 'cache-storage') {
  const store = await openStore(kind);
  await store?.clear(model ? new URL(model, document.baseURI).href : '');
}

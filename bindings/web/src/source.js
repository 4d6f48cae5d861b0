// The files of a model, from wherever it lies, into WebAssembly memory, each byte once: a chunk goes to its
// place there and on to the store. A model is the URL of a .gguf file or of a Transformers.js folder, or the
// same as File, an array of Files, a FileSystemFileHandle or a FileSystemDirectoryHandle.
import {TernError} from './engine.js';

const SUFFIX = {
  fp32: '',
  fp16: '_fp16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  bnb4: '_bnb4',
};
/** What the library reads of a folder beside the graph; small, and read whole before totals are told. */
const SIDE_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'modules.json',
  '1_Pooling/config.json',
];
const MAX_RESUMES = 3;

const isGguf = name => /\.gguf($|[?#])/i.test(name);

// ---- places: open(name) -> {size (null: unknown), cached, stream(), store?: url} or null if there is no such file ----

/** Files given by the page, by their names relative to the folder. */
class BlobPlace {
  constructor(blobs) {
    this.blobs = blobs;
  }
  async open(name) {
    const blob = this.blobs.get(name);
    return blob ? {size: blob.size, cached: true, stream: () => blob.stream()} : null;
  }
}

class HandlePlace {
  constructor(folder) {
    this.folder = folder;
  }
  async open(name) {
    try {
      let folder = this.folder;
      const parts = name.split('/');
      for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part);
      const file = await (await folder.getFileHandle(parts.at(-1))).getFile();
      return {size: file.size, cached: true, stream: () => file.stream()};
    } catch (error) {
      if (error.name === 'NotFoundError') return null;
      throw error;
    }
  }
}

class NetworkPlace {
  constructor(base, store, signal) {
    Object.assign(this, {base, store, signal});
  }

  async open(name) {
    const url = name ? this.base + name.split('/').map(encodeURIComponent).join('/') : this.base;
    const kept = await this.store?.match(url);
    if (kept) return kept.absent ? null : {...kept, cached: true};
    const response = await fetch(url, {signal: this.signal}).catch(error => {
      if (this.signal?.aborted) throw error;
      throw new TernError(
        'IO',
        `${url} cannot be fetched (${error.message}) and is not in the browser's store; check the ` +
          'connection and, on another origin, its CORS headers',
      );
    });
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return null;
    }
    if (!response.ok) throw new TernError('IO', `${url} answers ${response.status} ${response.statusText}`);
    const length = response.headers.get('content-length'),
      encoded = response.headers.get('content-encoding');
    const size = length !== null && (!encoded || encoded === 'identity') ? Number(length) : null;
    return {size, cached: false, url, stream: () => this.#body(url, response, size)};
  }

  /** The body; a connection that breaks is taken up where it broke, if the file is still the same. */
  #body(url, response, size) {
    const validator = r => r.headers.get('etag') ?? r.headers.get('last-modified');
    const same = validator(response),
      signal = this.signal;
    let reader = response.body.getReader(),
      done = 0,
      resumes = 0;
    return new ReadableStream({
      async pull(controller) {
        for (;;) {
          let why = 'the connection ended';
          try {
            const {value, done: ended} = await reader.read();
            if (value) return ((done += value.length), controller.enqueue(value));
            if (ended && (size === null || done === size)) return controller.close();
          } catch (error) {
            if (signal?.aborted) throw error;
            why = error.message;
          }
          const short = new TernError('IO', `${url}: ${why} at ${done} of ${size ?? 'unknown'} bytes; try again`);
          if (size === null || done > size || resumes++ === MAX_RESUMES) throw short;
          const next = await fetch(url, {signal, headers: {range: `bytes=${done}-`}}).catch(() => null);
          if (next?.status !== 206 || validator(next) !== same) throw short;
          reader = next.body.getReader();
        }
      },
      cancel: reason => reader.cancel(reason),
    });
  }

  async remember(name) {
    // that there is no such file
    await this.store?.markAbsent(this.base + name.split('/').map(encodeURIComponent).join('/'));
  }
}

/** {place, file: name or null for a folder, name: what to call the model} */
async function placeOf(model, store, signal) {
  if (typeof model === 'string') {
    if (isGguf(model)) return {place: new NetworkPlace(model, store, signal), file: '', name: model};
    return {
      place: new NetworkPlace(model.endsWith('/') ? model : model + '/', store, signal),
      file: null,
      name: model,
    };
  }
  if (model?.kind === 'file') model = await model.getFile();
  if (model?.kind === 'directory') return {place: new HandlePlace(model), file: null, name: model.name};
  if (model instanceof Blob)
    return {place: new BlobPlace(new Map([['', model]])), file: '', name: model.name ?? 'model'};
  if (!Array.isArray(model))
    throw new TernError(
      'INVALID_ARGUMENT',
      'the model must be a URL, a File, an array of Files or a file system handle',
    );
  // The names of an <input webkitdirectory> open with the folder's own.
  const names = model.map(f => f.webkitRelativePath || f.name);
  const root = names.every(n => n.includes('/') && n.split('/')[0] === names[0].split('/')[0])
    ? names[0].split('/')[0].length + 1
    : 0;
  return {
    place: new BlobPlace(new Map(model.map((f, i) => [names[i].slice(root), f]))),
    file: null,
    name: names[0]?.slice(0, root) || 'folder',
  };
}

// ---- loading ----

/** Progress of all files: totals are told once all are known, and loaded only grows. */
class Progress {
  #files = {};
  #known = false;
  constructor(name, emit) {
    ((this.name = name), (this.emit = emit));
  }
  begin(file, size, cached) {
    this.#files[file] = {loaded: 0, total: size ?? 0};
    this.emit({status: 'initiate', name: this.name, file, cached});
  }
  allKnown() {
    this.#known = true;
    this.#total();
  }
  add(file, n) {
    const f = this.#files[file];
    f.loaded += n;
    if (f.loaded > f.total) f.total = f.loaded; // a server that did not tell
    this.emit({
      status: 'progress',
      name: this.name,
      file,
      loaded: f.loaded,
      total: f.total,
      progress: (100 * f.loaded) / f.total,
    });
    if (this.#known) this.#total();
  }
  end(file) {
    this.emit({status: 'done', name: this.name, file});
  }
  #total() {
    const all = Object.values(this.#files),
      sum = key => all.reduce((n, f) => n + f[key], 0);
    const loaded = sum('loaded'),
      total = sum('total');
    this.emit({
      status: 'progress_total',
      name: this.name,
      loaded,
      total,
      progress: total ? (100 * loaded) / total : 100,
      files: structuredClone(this.#files),
    });
  }
}

/** Streams a file into memory at a place of its own, and into the store. */
async function fetchInto(engine, path, file, entry, store, progress) {
  let stream = entry.stream(),
    size = entry.size;
  if (size === null) {
    // the server compresses on the fly: the size is known when all is there
    const blob = await new Response(stream).blob();
    ((size = blob.size), (stream = blob.stream()));
  }
  const at = engine.addFile(path, size);
  let n = 0;
  const take = chunk => {
    if (n + chunk.length > size)
      throw new TernError('IO', `${file} is longer than the ${size} bytes that were announced`);
    engine.bytes(at, size).set(chunk, n);
    n += chunk.length;
    progress.add(file, chunk.length);
  };
  const finish = () => {
    if (n !== size) throw new TernError('IO', `${file} ended at ${n} of ${size} bytes; try again`);
  };
  if (entry.url && store) {
    const copy = new TransformStream({
      transform(chunk, controller) {
        (take(chunk), controller.enqueue(chunk));
      },
      flush: finish,
    });
    let failure = null;
    const source = stream.pipeThrough(copy);
    await store.put(entry.url, source, size).catch(error => {
      failure = error;
    });
    if (failure && failure.name === 'QuotaExceededError') {
      progress.emit({
        status: 'warning',
        name: progress.name,
        file,
        message: 'the browser has no room to keep this file; it will be fetched again next time',
      });
      return 'again';
    }
    if (failure) throw failure;
  } else {
    const reader = stream.getReader();
    for (let chunk; !(chunk = await reader.read()).done;) take(chunk.value);
    finish();
  }
  progress.end(file);
}

function graphFiles({dtype, model_file_name = 'model', use_external_data_format = 0}) {
  if (!(dtype in SUFFIX))
    throw new TernError('INVALID_ARGUMENT', `dtype '${dtype}' is not one of ${Object.keys(SUFFIX).join(', ')}`);
  const graph = `onnx/${model_file_name}${SUFFIX[dtype]}.onnx`;
  const parts = Array.from({length: Number(use_external_data_format)}, (_, i) => `${graph}_data${i ? `_${i}` : ''}`);
  return [graph, ...parts];
}

/** Brings the model's files into the engine. Returns {path, dtype, fileName} for Engine.openPipeline. */
export async function loadModel(engine, model, options, {store, signal, emit}) {
  const {place, file, name} = await placeOf(model, store, signal);
  const progress = new Progress(name, emit);
  const opened = [];
  const open = async (n, required) => {
    const entry = await place.open(n);
    if (!entry && required)
      throw new TernError('NOT_FOUND', `${name} has no ${n || 'such file'}${required === true ? '' : required}`);
    if (entry) {
      progress.begin(n || name, entry.size, entry.cached);
      opened.push([n, entry]);
    }
    return entry;
  };
  const load = async (n, entry) => {
    const path = file === null ? `/model/${n}` : '/model.gguf',
      shown = n || name;
    if ((await fetchInto(engine, path, shown, entry, store, progress)) === 'again')
      throw new TernError(
        'IO',
        `${shown}: the browser has no room to keep this file; open the model with cache: 'none'`,
      );
  };
  if (file !== null) {
    if (options.dtype)
      throw new TernError(
        'INVALID_ARGUMENT',
        `dtype '${options.dtype}' chooses a file of a model folder, but ${name} is a file`,
      );
    const entry = await open('', true);
    progress.allKnown();
    await load('', entry);
    return {path: '/model.gguf'};
  }
  // The small files first: their sizes are what they are.
  const absent = [];
  await Promise.all(
    ['tokenizer.json', ...SIDE_FILES].map(async n => {
      const entry = await open(n, n === 'tokenizer.json');
      if (entry) await load(n, entry);
      else absent.push(n);
    }),
  );
  opened.length = 0;
  const dtype = options.dtype ?? 'q8'; // as Transformers.js on this device
  for (const n of graphFiles({...options, dtype}))
    await open(n, `; choose a dtype that it has (${Object.keys(SUFFIX).join(', ')})`);
  progress.allKnown();
  for (const [n, entry] of opened) await load(n, entry);
  for (const n of absent) await place.remember?.(n);
  return {path: '/model', dtype, fileName: options.model_file_name};
}

// One measured run of Transformers.js in Node (onnxruntime-node), compare.py's peer; prints `tern bench`'s JSON keys.
//   node peer_transformers.mjs MODULES FOLDER DTYPE THREADS bench BATCHxLENGTH REPEAT
//   node peer_transformers.mjs MODULES FOLDER DTYPE THREADS embed < JSON list of texts; prints a vector each
// MODULES: where compare.py has installed the package, pinned by tests/web/package-lock.json.
import {readFileSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {pathToFileURL} from 'node:url';

const [modules, folder, dtype, threads, mode, shape, repeat] = process.argv.slice(2);
const {AutoModel, Tensor, env, pipeline} = await import(
  pathToFileURL(join(modules, 'node_modules/@huggingface/transformers/dist/transformers.node.mjs'))
);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const options = {
  dtype,
  device: 'cpu',
  session_options: {intraOpNumThreads: Number(threads), interOpNumThreads: 1},
};

async function bench() {
  const dims = shape.split('x').map(Number),
    size = dims[0] * dims[1];
  const int64 = value => new Tensor('int64', BigInt64Array.from({length: size}, (_, i) => BigInt(value(i))), dims);
  // Any ids: the work does not depend on them.
  const inputs = {
    input_ids: int64(i => ((i * 7919 + 13) % 28000) + 1000),
    attention_mask: int64(() => 1),
    token_type_ids: int64(() => 0),
  };
  let begin = performance.now();
  const model = await AutoModel.from_pretrained(basename(folder), options),
    loadMs = performance.now() - begin,
    times = [];
  await model(inputs);
  for (let i = 0; i < Number(repeat); i++) {
    begin = performance.now();
    await model(inputs);
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  const middle = times.length >> 1,
    median = times.length % 2 ? times[middle] : (times[middle - 1] + times[middle]) / 2;
  return {
    load_ms: loadMs,
    latency_ms: {median, min: times[0], max: times.at(-1)},
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  };
}

async function embed() {
  const extract = await pipeline('feature-extraction', basename(folder), options),
    vectors = [];
  // One at a time: q8 quantizes a batch as one.
  for (const text of JSON.parse(readFileSync(0, 'utf8')))
    vectors.push(Array.from((await extract(text, {pooling: 'mean', normalize: true})).data));
  return vectors;
}

console.log(JSON.stringify(await (mode === 'embed' ? embed() : bench())));

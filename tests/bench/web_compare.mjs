// tern beside Transformers.js in one Chromium: the same MiniLM folder, q8, one text of 12 and of 100 tokens
// at a time, on WebAssembly and on WebGPU (here SwiftShader). Rounds alternate; figures are medians. Prints a table, and
// JSON with --json.
//   node tests/bench/web_compare.mjs [--rows wasm:1,wasm:2,webgpu:1] [--rounds 7] [--no-cosine] [--json]
//   a row: device:threads
// Needs: npm ci in tests/web (with the optional packages), bindings/web/build.sh, the models, Debian's
// chromium.
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {launch} from '../web/browser.mjs';
import {needFiles, ROOT, skip} from '../web/node_models.mjs';
import {serve} from '../web/serve.mjs';

const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(name) ? args[args.indexOf(name) + 1] : fallback);
needFiles();
if (!existsSync(join(ROOT, 'tests/web/node_modules/@huggingface/transformers')))
  skip('@huggingface/transformers is missing: npm ci in tests/web');

/** In the page. */
async function compare({device, threads, rounds, withCosine}) {
  const {env, pipeline: theirs} = await import('/node_modules/@huggingface/transformers/dist/transformers.web.js');
  const {pipeline: ours} = await import('/dist/tern.js');
  ((env.allowRemoteModels = false),
    (env.allowLocalModels = true),
    (env.localModelPath = '/models/'),
    (env.useBrowserCache = false));
  env.backends.onnx.wasm.wasmPaths = '/node_modules/onnxruntime-web/dist/';
  env.backends.onnx.wasm.numThreads = threads;
  const options = {pooling: 'mean', normalize: true},
    folder = '/models/all-MiniLM-L6-v2',
    cache = 'none';
  const open = async fn => {
    const begin = performance.now(),
      pipe = await fn();
    return {pipe, ms: performance.now() - begin};
  };
  const tern = await open(() => ours('feature-extraction', folder, {dtype: 'q8', device, threads, cache}));
  const peer = await open(() => theirs('feature-extraction', 'all-MiniLM-L6-v2', {dtype: 'q8', device}));
  // One token a word, and two special ones.
  const words =
    'the sea was calm when we left and nobody on the old boat said a word until the sun came up again'.split(' ');
  const text = tokens => Array.from({length: tokens - 2}, (_, i) => words[i % words.length]).join(' ');
  const times = {};
  const repeats = device === 'wasm' ? [20, 5] : [3, 1];
  for (const [tokens, repeat] of [
    [12, repeats[0]],
    [100, repeats[1]],
  ])
    for (let round = -1; round < rounds; round++)
      for (const [name, {pipe}] of [
        ['tern', tern],
        ['transformers.js', peer],
      ])
        for (let i = 0; i < repeat; i++) {
          const begin = performance.now();
          await pipe(text(tokens), options);
          if (round >= 0) ((times[name] ??= {})[tokens] ??= []).push(performance.now() - begin);
        }
  const median = list => list.sort((a, b) => a - b)[list.length >> 1];
  const exact =
    withCosine && (await ours('feature-extraction', folder, {dtype: 'fp32', device: 'wasm', threads, cache}));
  const sentences = [
    'A man is eating food.',
    'The quick brown fox jumps over the lazy dog.',
    'How do I reset my password?',
    text(12),
    text(100),
    'Machine learning models run on the device.',
    'El niño comió una manzana.',
    'The monkey is playing drums.',
  ];
  const rows = async pipe => {
    const all = [];
    for (const s of sentences) all.push(Array.from((await pipe(s, options)).data)); // alone: q8 quantizes a batch as one
    return all;
  };
  const want = withCosine ? await rows(exact) : [],
    result = {};
  for (const [name, {pipe, ms}] of [
    ['tern', tern],
    ['transformers.js', peer],
  ]) {
    const vectors = withCosine ? await rows(pipe) : [],
      cosines = vectors.map((row, i) => row.reduce((n, x, j) => n + x * want[i][j], 0));
    result[name] = {
      open_ms: ms,
      ms_12: median(times[name][12]),
      ms_100: median(times[name][100]),
      ...(withCosine && {
        cosine_min: Math.min(...cosines),
        cosine_mean: cosines.reduce((a, b) => a + b) / cosines.length,
      }),
    };
  }
  return {
    device,
    adapter: tern.pipe.devices.find(d => d.name === device)?.description,
    threads,
    ...result,
    ratio_12: result['transformers.js'].ms_12 / result.tern.ms_12,
    ratio_100: result['transformers.js'].ms_100 / result.tern.ms_100,
    tokens: [
      (await tern.pipe.tokenizer.encode(text(12))).length,
      (await tern.pipe.tokenizer.encode(text(100))).length,
    ],
  };
}

const server = await serve(),
  browser = await launch(),
  results = [];
for (const row of option('--rows', 'wasm:1,wasm:2,webgpu:1').split(',')) {
  const [device, threads] = row.split(':');
  const page = await browser.page(`${server.url}/tests/compare.html`);
  results.push(
    await page.evaluate(compare, {
      device,
      threads: Number(threads),
      rounds: Number(option('--rounds', 7)),
      withCosine: !args.includes('--no-cosine'),
    }),
  );
  await page.close();
}
const version = browser.context.browser()?.version();
await browser.close();
server.close();
if (args.includes('--json')) console.log(JSON.stringify({chromium: version, results}, null, 1));
else
  for (const r of results) {
    console.log(`${r.device} (${r.adapter}), ${r.threads} thread${r.threads > 1 ? 's' : ''}, ${r.tokens} tokens`);
    for (const name of ['tern', 'transformers.js'])
      console.log(
        `  ${name.padEnd(16)} open ${r[name].open_ms.toFixed(0)} ms   12: ${r[name].ms_12.toFixed(2)} ms   100: ${r[name].ms_100.toFixed(1)} ms   ` +
          (args.includes('--no-cosine')
            ? ''
            : `cosine to fp32 min ${r[name].cosine_min.toFixed(5)} mean ${r[name].cosine_mean.toFixed(5)}`),
      );
    console.log(`  ratio            12: ${r.ratio_12.toFixed(2)}   100: ${r.ratio_100.toFixed(2)}`);
  }

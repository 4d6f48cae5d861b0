// A static file server for the browser tests, the sample and the comparison. Folders: /dist/ and
// /bindings/web/dist/ (the binding), /models/ (the model cache), /samples/, /tests/ (this folder),
// /node_modules/.
//   node tests/web/serve.mjs [--port 8080] [--plain]     --plain: without the headers of cross-origin isolation
import {createReadStream, existsSync, statSync} from 'node:fs';
import {createServer} from 'node:http';
import {extname, join, normalize} from 'node:path';
import {fileURLToPath} from 'node:url';
import {CACHE, DIST, ROOT} from './node_models.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const FOLDERS = {
  dist: DIST,
  'bindings/web/dist': DIST,
  models: CACHE,
  samples: join(ROOT, 'samples'),
  tests: HERE,
  node_modules: join(HERE, 'node_modules'),
};
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
};

/** {port, requests: paths asked for, cut: a pattern of paths that get no answer, breakAt: bytes after which a model's
 *  connection ends, once, close()} */
export async function serve({port = 0, isolated = true} = {}) {
  const state = {requests: [], cut: null, breakAt: 0};
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://x').pathname);
    state.requests.push(path);
    if (state.cut?.test(path)) return request.socket.destroy();
    const headers = {
      'cache-control': 'no-store',
      'cross-origin-resource-policy': 'same-origin',
      'accept-ranges': 'bytes',
    };
    if (isolated)
      Object.assign(headers, {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      });
    if (path === '/')
      return response
        .writeHead(200, {...headers, 'content-type': 'text/html'})
        .end('<!doctype html><title>tern</title>');
    const top = Object.keys(FOLDERS).find(f => path.startsWith(`/${f}/`));
    let file = top && join(FOLDERS[top], normalize(path.slice(top.length + 1)));
    if (file && existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
    if (!file || !existsSync(file)) return response.writeHead(404, headers).end('no such file');
    const {size, mtimeMs} = statSync(file),
      range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const start = range ? Number(range[1]) : 0;
    Object.assign(headers, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      'content-length': size - start,
      etag: `"${size}-${mtimeMs}"`,
    });
    if (range) headers['content-range'] = `bytes ${start}-${size - 1}/${size}`;
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === 'HEAD') return response.end();
    const body = createReadStream(file, {start});
    if (state.breakAt && top === 'models' && size - start > state.breakAt) {
      const left = state.breakAt;
      let n = 0;
      state.breakAt = 0;
      body.on('data', chunk => {
        if ((n += chunk.length) > left) (body.destroy(), request.socket.destroy());
      });
    }
    body.pipe(response);
  });
  await new Promise(done => server.listen(port, '127.0.0.1', done));
  return Object.assign(state, {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => (server.closeAllConnections(), server.close()),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2),
    at = args.indexOf('--port');
  const {url} = await serve({port: at < 0 ? 8080 : Number(args[at + 1]), isolated: !args.includes('--plain')});
  console.log(`${url}/samples/web/`);
}

// Where downloaded model files stay: Cache Storage, or the origin private file system. A file is there whole
// or not at all; its key is its URL, and what is there is never asked for again. A file that a model does not
// have is remembered, too, so that an opening without network asks for nothing.
const NAME = 'tern-models';
const ABSENT = 'x-tern-absent';

class CacheStorageStore {
  constructor(cache) {
    this.cache = cache;
  }

  async match(url) {
    const response = await this.cache.match(url);
    if (!response) return null;
    if (response.headers.has(ABSENT)) return {absent: true};
    return {size: Number(response.headers.get('content-length')), stream: () => response.body};
  }

  async put(url, stream, size) {
    const headers = {'content-type': 'application/octet-stream'};
    if (size !== null) headers['content-length'] = String(size);
    await this.cache.put(url, new Response(stream, {headers}));
    if (size !== null) return;
    const blob = await (await this.cache.match(url)).blob(); // now the size is known
    await this.cache.put(url, new Response(blob, {headers: {...headers, 'content-length': String(blob.size)}}));
  }

  markAbsent(url) {
    return this.cache.put(url, new Response('', {headers: {[ABSENT]: '1'}}));
  }

  async clear(prefix) {
    for (const request of await this.cache.keys())
      if (request.url.startsWith(prefix)) await this.cache.delete(request);
  }
}

class OpfsStore {
  constructor(folder) {
    this.folder = folder;
  }

  #name(url) {
    return encodeURIComponent(url).replaceAll('%', '=');
  } // a file name, and the URL can be read back

  async match(url) {
    let file;
    try {
      file = await (await this.folder.getFileHandle(this.#name(url))).getFile();
    } catch (error) {
      if (error.name === 'NotFoundError') return null;
      throw error;
    }
    return file.size ? {size: file.size, stream: () => file.stream()} : {absent: true};
  }

  async put(url, stream) {
    const writable = await (await this.folder.getFileHandle(this.#name(url), {create: true})).createWritable();
    try {
      await stream.pipeTo(writable); // takes effect when it is closed
    } catch (error) {
      await this.folder.removeEntry(this.#name(url)).catch(() => {});
      throw error;
    }
  }

  async markAbsent(url) {
    await this.folder.getFileHandle(this.#name(url), {create: true});
  }

  async clear(prefix) {
    const wanted = this.#name(prefix);
    for await (const name of this.folder.keys()) if (name.startsWith(wanted)) await this.folder.removeEntry(name);
  }
}

/** kind: 'cache-storage', 'opfs' or 'none'. Null where the browser has or allows no such place (private windows, plain http). */
export async function openStore(kind) {
  if (kind === 'none') return null;
  try {
    if (kind === 'opfs') {
      const root = await navigator.storage.getDirectory();
      return new OpfsStore(await root.getDirectoryHandle(NAME, {create: true}));
    }
    return globalThis.caches ? new CacheStorageStore(await caches.open(NAME)) : null;
  } catch (error) {
    if (error.name === 'SecurityError') return null;
    throw error;
  }
}

// A thread of the pool: readies itself, then runs one C thread, which lives as long as its runtime.
import {createPoolThread} from './engine.js';

globalThis.onmessage = async ({data: {module, memory}}) => {
  const run = await createPoolThread(module, memory);
  globalThis.onmessage = ({data}) => run(data);
  postMessage('ready');
};

// Types of tern.js.

export type Task = 'feature-extraction' | 'text-generation';
export type Dtype = 'fp32' | 'fp16' | 'q8' | 'int8' | 'uint8' | 'q4' | 'q4f16' | 'bnb4';
export type Device = 'auto' | 'wasm' | 'webgpu';
/** URL of a .gguf file or of a Transformers.js folder, or the same as files. */
export type Model = string | URL | File | File[] | FileSystemFileHandle | FileSystemDirectoryHandle;

export const env: {wasmBase: string; threads: number};

export type Progress =
  | {status: 'initiate'; name: string; file: string; cached: boolean}
  | {status: 'progress'; name: string; file: string; loaded: number; total: number; progress: number}
  /** All files together: total is right from the first of these on, loaded never falls. */
  | {status: 'progress_total'; name: string; loaded: number; total: number; progress: number;
     files: Record<string, {loaded: number; total: number}>}
  | {status: 'done'; name: string; file: string}
  | {status: 'open'; phase: string; done: number; total: number}
  | {status: 'log'; level: number; text: string}
  | {status: 'warning'; name: string; file: string; message: string}
  | {status: 'ready'; task: Task; model: Model};

export interface PipelineOptions {
  /** 'auto' (default): WebGPU where the adapter is a GPU, else WebAssembly. 'webgpu' is an error (NO_DEVICE) where there is
   *  no adapter or no JavaScript Promise Integration. */
  device?: Device;
  /** A device that is absent, lost or out of memory is left for 'wasm', with a warning in the log. Default: with 'auto'. */
  fallback?: boolean;
  /** Which file of a folder; 'q8' if not given. */
  dtype?: Dtype;
  /** Base name in the folder's onnx/; 'model' if not given. */
  model_file_name?: string;
  /** Number of external data files beside the graph (true: one). */
  use_external_data_format?: boolean | number;
  numerics?: 'fast' | 'consistent';
  /** KV cache positions; the model's own, at most 4096, if not given. */
  context_length?: number;
  /** More than 1 needs a cross-origin isolated page. */
  threads?: number;
  /** Keep times of single kernels for profile(); costs some speed. */
  profile?: boolean;
  /** Where downloads stay; 'cache-storage' if not given. */
  cache?: 'cache-storage' | 'opfs' | 'none';
  progress_callback?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export class TernError extends Error {
  /** The name of the status in tern.h: 'NOT_FOUND', 'OUT_OF_MEMORY', ... */
  readonly status: string;
}

export class Tensor implements Iterable<Tensor | number> {
  readonly type: 'float32';
  readonly data: Float32Array;
  readonly dims: number[];
  readonly size: number;
  tolist(): any[];
  [Symbol.iterator](): Iterator<Tensor | number>;
}

export interface Tokenizer {
  encode(text: string, options?: {add_special_tokens?: boolean}): Promise<number[]>;
  decode(tokens: Iterable<number | bigint>, options?: {skip_special_tokens?: boolean}): Promise<string>;
  apply_chat_template(messages: Message[], options?: {add_generation_prompt?: boolean}): Promise<string>;
}

export class TextStreamer {
  constructor(tokenizer: Tokenizer, options?: {
    skip_prompt?: boolean;
    callback_function?: (text: string) => void;
    token_callback_function?: (tokens: bigint[]) => void;
  });
}

export interface Message {role: string; content: string}

export interface Timings {
  n_prompt_tokens: number;
  n_reused_tokens: number;
  n_new_tokens: number;
  tokenize_ms: number;
  prefill_ms: number;
  decode_ms: number;
  first_token_ms: number;
  total_ms: number;
  /** Evaluated ahead by prompt lookup, and how many of these were picked as well. */
  n_drafted_tokens: number;
  n_accepted_tokens: number;
}

export interface FeatureExtractionOptions {
  pooling?: 'none' | 'mean' | 'cls' | 'last' | 'last_token';
  normalize?: boolean;
  signal?: AbortSignal;
}

export interface TextGenerationOptions {
  max_new_tokens?: number;
  do_sample?: boolean;
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  /** 0: from the clock. */
  seed?: number;
  stop?: string | string[];
  return_full_text?: boolean;
  ignore_eos?: boolean;
  context_policy?: 'error' | 'shift';
  /** Evaluates up to so many tokens ahead where the text repeats itself; 0 (default): none. One prompt at a time. */
  prompt_lookup_num_tokens?: number;
  /** The last tokens to look up for that, at most. 0: 2. */
  max_matching_ngram_size?: number;
  streamer?: TextStreamer;
  on_text?: (text: string, token: number) => void;
  signal?: AbortSignal;
}

interface PipelineBase {
  readonly task: Task;
  /** The device that computes. */
  readonly device: string;
  readonly devices: {name: string; description: string}[];
  readonly threads: number;
  /** What is inside the model: format, weights by type, operators, inputs, outputs. */
  readonly info: Record<string, any>;
  readonly tokenizer: Tokenizer;
  /** Of the last run. */
  readonly timings: Timings;
  /** Bytes that the library holds, held at most, and the size of WebAssembly memory. */
  memory(): Promise<{live: number; peak: number; wasm: number}>;
  /** Where the last run's work was done: tern_session_profile in tern.h. null before the first run. */
  profile(): Promise<{device: string; segments: object[]} | null>;
  /** Ends the worker and gives all memory back. */
  dispose(): Promise<void>;
}

export interface FeatureExtractionPipeline extends PipelineBase {
  (texts: string | string[], options?: FeatureExtractionOptions): Promise<Tensor>;
}

export interface TextGenerationPipeline extends PipelineBase {
  (text: string | string[], options?: TextGenerationOptions): Promise<{generated_text: string}[]>;
  (messages: Message[], options?: TextGenerationOptions): Promise<{generated_text: Message[]}[]>;
  /** Of the last run, an entry per text. */
  readonly outputs: {text: string; tokens: number[]; finish_reason: string}[];
}

export function pipeline(task: 'feature-extraction', model: Model, options?: PipelineOptions): Promise<FeatureExtractionPipeline>;
export function pipeline(task: 'text-generation', model: Model, options?: PipelineOptions): Promise<TextGenerationPipeline>;

/** Removes kept models whose URL starts with `model`; all without one. */
export function clearCache(model?: string, kind?: 'cache-storage' | 'opfs'): Promise<void>;

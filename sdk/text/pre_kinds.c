/* What tokenizer.ggml.pre names: the patterns that cut text before BPE, in order, as llama.cpp's llama-vocab.cpp has
 * them (MIT licence), so that a GGUF file gives the same tokens. A name that is not here is refused: its tokens would
 * be silently wrong. Not taken over: kinds that llama.cpp matches by code of its own (kimi-k2, afmoe, tiny_aya,
 * cohere2moe), that look ahead into other pieces (superbpe), that do not spell bytes (gemma4, sarvam-moe, whitespace,
 * granite-embed-multi-311m), or that add separators (jina-v1-en, jina-v2-code, roberta-bpe). */
#include "text/tokenizer_internal.h"

#include <string.h>

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define FAMILY(digits)                                                                                  \
  CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
               "\\s+(?!\\S)|\\s+"
/* With the last alternative of the original: what llama.cpp leaves unmatched becomes a piece too. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const tern__pre_kind kinds[] = {
  /* names, patterns, ignore_merges, add_bos */
  {"default",
   {
      "[\\p{P}\\$\\+<=>\\^~\\|]+",
      GPT2,
      "\\p{N}+",
      "[0-9][0-9][0-9]"},
   false, false},
  {"minicpm5",
   {
      "\\p{N}{1,3}",
      CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*"
      "[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   true, false},
  {"llama3|llama-v3|llama-bpe|falcon3|falcon-h1|pixtral|midm-2.0|lfm2|jina-v5-nano",
   {
      FAMILY("\\p{N}{1,3}")},
   true, true},
  {"deepseek-llm",
   {
      "[\r\n]",
      "\\s?"
      "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-"
      "Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ"
      "-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
      "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
      "\\s+$",
      "[一-龥ࠀ-一가-퟿]+",
      "\\p{N}+"},
   false, false},
  {"deepseek-coder",
   {
      "[\r\n]",
      "\\s?\\p{L}+",
      "\\s?\\p{P}+",
      "[一-龥ࠀ-一가-퟿]+",
      "\\p{N}"},
   false, false},
  {"deepseek-v3|hunyuan-dense|hy_v4|joyai-llm",
   {
      "\\p{N}{1,3}",
      "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
   false, false},
  {"spark2_5",
   {
      "\\p{N}{1,3}",
      "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\r\n]|\\s+(?!\\S)|\\s+",
      "\\p{N}"},
   false, false},
  {"youtu",
   {
      "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?"
      "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" CONTRACTIONS "?|\\p{N}|"
      " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   true, false},
  {"falcon",
   {
      "[\\p{P}\\$\\+<=>\\^~\\|`]+",
      GPT2,
      "[0-9][0-9][0-9]"},
   false, false},
  {"mpt|gpt-2|phi-2|jina-es|jina-de|gigachat|jina-v2-es|jina-v2-de|a.x-4.0|mellum|modern-bert"
   "|olmo|jais|exaone4|trillion|granite-docling",
   {
      GPT2},
   false, false},
  {"starcoder|refact|command-r|smollm|codeshell|exaone|minerva-7b|mellum2",
   {
      "\\p{N}",
      GPT2},
   false, false},
  {"jais-2",
   {
      CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*"
      "[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"
      "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"},
   false, false},
  {"qwen2|deepseek-r1-qwen|kormo|f2llmv2|stablelm2|megrez|hunyuan|grok-2|solar-open",
   {
      FAMILY("\\p{N}")},
   false, false},
  {"qwen35",
   {
      CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
      "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   false, false},
  {"dbrx|smaug-bpe|chatglm-bpe",
   {
      FAMILY("\\p{N}{1,3}")},
   false, false},
  {"poro-chat|bloom|gpt3-finnish",
   {
      " ?[^(\\s|.,!?…。，、।۔،)]+"},
   false, false},
  {"glm4|glm5",
   {
      FAMILY("\\p{N}{1,3}")},
   true, false},
  {"viking",
   {
      " ?[^(\\s|.,!?…。，、।۔،)]+",
      "\\p{N}"},
   false, false},
  {"tekken",
   {
      "[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))*((?=[\\p{L}])([^A-Z]))+|[^\\r\\n\\p{L}\\p{N}]?"
      "((?=[\\p{L}])([^a-z]))+((?=[\\p{L}])([^A-Z]))*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*"
      "[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   true, true},
  {"exaone-moe",
   {
      CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?"
      "[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
   false, false},
  {"chameleon",
   {
      "<sentinel:[0-9]+>",
      "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
      "([\\t\\n]|    |  )",
      "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]",
      GPT2},
   false, true},
  {"gpt-4o|llama4|kanana2|talkie|minimax-m2",
   {
      "[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))*((?=[\\p{L}])([^A-Z]))+" CONTRACTIONS "?|"
      "[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))+((?=[\\p{L}])([^A-Z]))*" CONTRACTIONS "?|"
      "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   false, false},
  {"granite-embed-multi-97m",
   {
      "[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}\\p{M}])([^a-z]))*((?=[\\p{L}\\p{M}])"
      "([^A-Z]))+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}\\p{M}])([^a-z]))+((?"
      "=[\\p{L}\\p{M}])([^A-Z]))*" CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*"
      "[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   true, false},
  {"bailingmoe|bailingmoe2|llada-moe",
   {
      "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?"
      "[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
   false, false},
  {"seed-coder",
   {
      CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*"
      "[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   false, false},
  {"ufakzeka",
   {
      "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   false, false},
  {"laguna",
   {
      "[^\\n]+|[\\n]+",
      FAMILY("\\p{N}")},
   false, false},
};

const tern__pre_kind *tern__pre_kind_find(const char *name) {
  size_t size = strlen(name);
  for (size_t i = 0; size && i < sizeof kinds / sizeof *kinds; i++)
    for (const char *p = kinds[i].names, *end; p; p = end ? end + 1 : NULL) {
      end = strchr(p, '|');
      if (size == (end ? (size_t)(end - p) : strlen(p)) && !memcmp(p, name, size)) return &kinds[i];
    }
  return NULL;
}

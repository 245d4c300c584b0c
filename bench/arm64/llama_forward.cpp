// What forward.cpp does, by llama.cpp: arbitrary ids, no sampling, one thread.
//   llama_forward MODEL N_PROMPT N_ANSWER
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "llama.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: llama_forward MODEL N_PROMPT N_ANSWER\n");
    return 2;
  }
  const int n_prompt = std::atoi(argv[2]), n_answer = std::atoi(argv[3]);
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return 1;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = 512;
  params.n_threads = params.n_threads_batch = 1;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return 1;
  std::vector<llama_token> prompt;
  for (int i = 0; i < n_prompt; ++i) prompt.push_back(100 + i);
  if (llama_decode(context, llama_batch_get_one(prompt.data(), n_prompt)) != 0) return 1;
  for (int i = 1; i < n_answer; ++i) {  // the first token comes from the prompt's logits
    llama_token token = 100 + i;
    if (llama_decode(context, llama_batch_get_one(&token, 1)) != 0) return 1;
  }
  return 0;
}

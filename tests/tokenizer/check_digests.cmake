# Prepares what check_digests.py needs and runs it.
#   cmake -DPROGRAM=encode_file -DFOLDER=work -DMODELS=folder -P check_digests.cmake
include(${CMAKE_CURRENT_LIST_DIR}/peers.cmake)
set(golden ${CMAKE_CURRENT_LIST_DIR}/../golden/tokenizer)
execute_process(
  COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/check_digests.py ${PROGRAM} ${FOLDER}/digests ${MODELS}/smollm2-135m-instruct-q4_1.gguf
          ${MODELS}/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf ${deepseek} ${golden}/small_unigram.model ${golden}/small_bpe.model
  COMMAND_ERROR_IS_FATAL ANY)

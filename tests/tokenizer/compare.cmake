# Prepares what compare_with_huggingface.py needs (a Python environment, the DeepSeek-V3 tokenizer) and runs it.
#   cmake -DPROGRAM=encode_file -DFOLDER=work -DMODELS=folder -P compare.cmake
include(${CMAKE_CURRENT_LIST_DIR}/peers.cmake)
set(python ${FOLDER}/venv/bin/python)
if(NOT EXISTS ${FOLDER}/venv/ready)
  execute_process(COMMAND python3 -m venv ${FOLDER}/venv COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${python} -m pip install --quiet --disable-pip-version-check -r ${CMAKE_CURRENT_LIST_DIR}/requirements.txt
                  COMMAND_ERROR_IS_FATAL ANY)
  file(TOUCH ${FOLDER}/venv/ready)
endif()

execute_process(
  COMMAND ${python} ${CMAKE_CURRENT_LIST_DIR}/compare_with_huggingface.py ${PROGRAM} ${FOLDER}/comparison
          --gguf ${MODELS}/smollm2-135m-instruct-q4_1.gguf --gguf ${MODELS}/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf --json ${deepseek}
  COMMAND_ERROR_IS_FATAL ANY)

# LibTorch out of PyPI's wheel, for moebox-train alone. The wheel is built for CUDA; a program that only computes on the
# processor links libtorch_cpu and libc10, which want two small CUDA libraries beside them to load (src/train/requirements.txt).
set(MOEBOX_TORCH_VERSION 2.11.0)
set(MOEBOX_TORCH_DIR "${PROJECT_SOURCE_DIR}/build/torch" CACHE PATH "Where scripts/prepare train has put LibTorch")
set(torch_root "${MOEBOX_TORCH_DIR}/torch")
set(torch_hint "Type 'scripts/prepare train' and configure again, or leave the trainer out: -DMOEBOX_TRAIN=OFF")
if(NOT EXISTS "${torch_root}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch is not in ${MOEBOX_TORCH_DIR}. ${torch_hint}")
endif()
file(STRINGS "${torch_root}/version.py" torch_version REGEX "^__version__")
if(NOT torch_version MATCHES "'${MOEBOX_TORCH_VERSION}[+']")
  message(FATAL_ERROR "Expected LibTorch ${MOEBOX_TORCH_VERSION} in ${MOEBOX_TORCH_DIR}, found ${torch_version}. ${torch_hint}")
endif()

add_library(moebox_torch INTERFACE)
target_include_directories(moebox_torch SYSTEM INTERFACE "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include")
# at::parallel_for is a template: its OpenMP pragma is compiled here. The runtime is the wheel's own, so that there is one.
target_compile_options(moebox_torch INTERFACE -fopenmp)
target_link_libraries(moebox_torch INTERFACE "${torch_root}/lib/libtorch_cpu.so" "${torch_root}/lib/libc10.so" "${torch_root}/lib/libgomp.so.1")
file(GLOB torch_cuda_folders "${MOEBOX_TORCH_DIR}/nvidia/*/lib")
foreach(folder ${torch_cuda_folders})
  target_link_options(moebox_torch INTERFACE "LINKER:-rpath-link,${folder}")
endforeach()

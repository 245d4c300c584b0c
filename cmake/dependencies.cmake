# Everything that is not ours. scripts/prepare installs these packages on Debian 12.
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)

# A fully static set of small libraries where the distribution has archives: the edge binary then needs only libc, libstdc++ and OpenSSL.
find_library(PCRE2_LIBRARY NAMES libpcre2-8.a pcre2-8 REQUIRED)
find_library(UTF8PROC_LIBRARY NAMES libutf8proc.a utf8proc REQUIRED)
add_library(moebox_pcre2 INTERFACE)
target_link_libraries(moebox_pcre2 INTERFACE ${PCRE2_LIBRARY})
add_library(moebox_utf8proc INTERFACE)
target_link_libraries(moebox_utf8proc INTERFACE ${UTF8PROC_LIBRARY})
target_compile_definitions(moebox_utf8proc INTERFACE UTF8PROC_STATIC)

# fmt is used as headers only, and Debian has its CMake files for one architecture at a time.
if(CMAKE_CROSSCOMPILING)
  find_path(FMT_INCLUDE_DIR fmt/core.h REQUIRED)
  add_library(fmt::fmt-header-only INTERFACE IMPORTED)
  target_compile_definitions(fmt::fmt-header-only INTERFACE FMT_HEADER_ONLY=1)
else()
  find_package(fmt 9 REQUIRED)
endif()

if(NOT MOEBOX_ENGINE_ONLY)
  find_package(OpenSSL 3 REQUIRED)
  find_package(CLI11 2.1 REQUIRED)
  find_package(tomlplusplus 3 REQUIRED)
  if(NOT MOEBOX_EDGE)
    find_package(Boost 1.81 REQUIRED)
    find_path(SODIUM_INCLUDE_DIR sodium.h REQUIRED)
    find_library(SODIUM_LIBRARY NAMES libsodium.a sodium REQUIRED)
    add_library(moebox_sodium INTERFACE)
    target_include_directories(moebox_sodium INTERFACE ${SODIUM_INCLUDE_DIR})
    target_link_libraries(moebox_sodium INTERFACE ${SODIUM_LIBRARY})
    target_compile_definitions(moebox_sodium INTERFACE SODIUM_STATIC)
    # Language detection, in moebox-data alone.
    find_path(CLD2_INCLUDE_DIR cld2/public/compact_lang_det.h REQUIRED)
    find_library(CLD2_LIBRARY NAMES libcld2.a cld2 REQUIRED)
    add_library(moebox_cld2 INTERFACE)
    target_include_directories(moebox_cld2 INTERFACE ${CLD2_INCLUDE_DIR})
    target_link_libraries(moebox_cld2 INTERFACE ${CLD2_LIBRARY})
  endif()
endif()

# Models that tests use; scripts/fetch_models puts them there.
set(MOEBOX_MODEL_DIR "$ENV{HOME}/.cache/moebox/models" CACHE PATH "Where tests find models")

if(MOEBOX_TESTS)
  find_package(GTest 1.12 REQUIRED)
  include(GoogleTest)
endif()

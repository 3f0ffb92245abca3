# find_package(melissa_like REQUIRED [COMPONENTS MPI Fortran]) gives two targets to link a solver with:
#
#     melissa_like::c         the client of melissa_like.h, for C and C++
#     melissa_like::fortran   the module melissa_like, where the project has the language Fortran
#
# With the component MPI both are for solvers with MPI. They are compiled with the project, by its compilers and flags.
# `melissa-like native --cmake-dir` says what melissa_like_DIR is. Set CMAKE_C_FLAGS, ZEROMQ_ROOT and the like as usual.

set(melissa_like_FOUND TRUE)
if(TARGET melissa_like_c)
  get_target_property(_melissa_like_definitions melissa_like_c COMPILE_DEFINITIONS)
  if("MPI" IN_LIST melissa_like_FIND_COMPONENTS AND NOT "ML_WITH_MPI" IN_LIST _melissa_like_definitions)
    set(melissa_like_FOUND FALSE)
    set(melissa_like_NOT_FOUND_MESSAGE "it was found without the component MPI before: ask for it the first time too")
  endif()
  return()
endif()

get_property(_melissa_like_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
foreach(_component IN LISTS melissa_like_FIND_COMPONENTS)
  if(_component STREQUAL "Fortran" AND NOT "Fortran" IN_LIST _melissa_like_languages)
    set(melissa_like_FOUND FALSE)
    set(melissa_like_NOT_FOUND_MESSAGE "the component Fortran needs a project of this language: project(... LANGUAGES C Fortran)")
    return()
  elseif(NOT _component MATCHES "^(MPI|Fortran)$")
    set(melissa_like_FOUND FALSE)
    set(melissa_like_NOT_FOUND_MESSAGE "there is no component ${_component}: write MPI, Fortran, or none")
    return()
  endif()
endforeach()
if(NOT "C" IN_LIST _melissa_like_languages)
  set(melissa_like_FOUND FALSE)
  set(melissa_like_NOT_FOUND_MESSAGE "the client is compiled from C: project(... LANGUAGES C Fortran)")
  return()
endif()

find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(_melissa_like_zmq QUIET libzmq)
endif()
find_path(ZEROMQ_INCLUDE_DIR zmq.h HINTS ${ZEROMQ_ROOT} ${_melissa_like_zmq_INCLUDEDIR} PATH_SUFFIXES include)
find_library(ZEROMQ_LIBRARY zmq HINTS ${ZEROMQ_ROOT} ${_melissa_like_zmq_LIBDIR} PATH_SUFFIXES lib)
if(NOT ZEROMQ_INCLUDE_DIR OR NOT ZEROMQ_LIBRARY)
  set(melissa_like_FOUND FALSE)
  set(melissa_like_NOT_FOUND_MESSAGE
      "libzmq was not found: install it with its header (Debian: libzmq3-dev), or set ZEROMQ_ROOT to its prefix")
  return()
endif()

get_filename_component(_melissa_like_native "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
add_library(melissa_like_c STATIC EXCLUDE_FROM_ALL "${_melissa_like_native}/melissa_like.c")
add_library(melissa_like::c ALIAS melissa_like_c)
set_target_properties(melissa_like_c PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_compile_features(melissa_like_c PRIVATE c_std_99)
target_include_directories(melissa_like_c SYSTEM PRIVATE "${ZEROMQ_INCLUDE_DIR}")
target_include_directories(melissa_like_c PUBLIC "${_melissa_like_native}")
target_link_libraries(melissa_like_c PUBLIC "${ZEROMQ_LIBRARY}" m)
if("MPI" IN_LIST melissa_like_FIND_COMPONENTS)
  include(CMakeFindDependencyMacro)
  find_dependency(MPI COMPONENTS C)
  target_compile_definitions(melissa_like_c PUBLIC ML_WITH_MPI)
  target_link_libraries(melissa_like_c PUBLIC MPI::MPI_C)
endif()

if("Fortran" IN_LIST _melissa_like_languages)
  add_library(melissa_like_fortran STATIC EXCLUDE_FROM_ALL "${_melissa_like_native}/melissa_like.f90")
  add_library(melissa_like::fortran ALIAS melissa_like_fortran)
  set(_melissa_like_modules "${CMAKE_CURRENT_BINARY_DIR}/melissa_like_modules")
  set_target_properties(melissa_like_fortran PROPERTIES POSITION_INDEPENDENT_CODE ON Fortran_MODULE_DIRECTORY
                                                        "${_melissa_like_modules}")
  target_include_directories(melissa_like_fortran PUBLIC "${_melissa_like_modules}")
  target_link_libraries(melissa_like_fortran PUBLIC melissa_like_c)
endif()

# Tests of the PTX reader, the decoder and the interpreter, and their benchmark.
phi3_test(vgpu_reader SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_reader.c LIBS vgpu_inside LABELS vgpu)
set(here ${CMAKE_CURRENT_SOURCE_DIR})
phi3_test(vgpu_ops SOURCES ${here}/test_ops.c ${here}/lab.c ${here}/ops_memory.c ${here}/ops_atomic.c ${here}/ops_warp.c ${here}/ops_tensor.c
  LIBS vgpu_inside LABELS vgpu)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT PHI3_SANITIZE) # the variants that this machine would not take by itself
  foreach(isa baseline avx2)
    add_test(NAME vgpu_ops_${isa} COMMAND test_vgpu_ops WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(vgpu_ops_${isa} PROPERTIES ENVIRONMENT "VGPU_ISA=${isa}" LABELS vgpu TIMEOUT 300)
  endforeach()
endif()
target_compile_options(test_vgpu_ops PRIVATE -frounding-math -fno-strict-aliasing)

# Classic programs, as nvcc makes them at each level.
find_program(VGPU_NVCC nvcc HINTS /usr/local/cuda/bin)
foreach(level O3 O0 G)
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/classic_${level}.ptx)
  phi3_test(vgpu_classic_${level} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_classic.c LIBS vgpu_inside LABELS vgpu)
  target_compile_definitions(test_vgpu_classic_${level} PRIVATE "VGPU_TEST_PTX=\"${ptx}\"")
  set_tests_properties(vgpu_classic_${level} PROPERTIES ENVIRONMENT "VGPU_SEED=1")
  if(level STREQUAL O3)
    set_tests_properties(vgpu_classic_${level} PROPERTIES LABELS "vgpu;threads") # blocks on several threads
  endif()
  if(VGPU_NVCC AND PHI3_CUDA)
    set(options_O3 -lineinfo)
    set(options_O0 -Xcicc -O0)
    set(options_G -G)
    add_custom_command(OUTPUT ${ptx} DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/classic.cu VERBATIM
      COMMAND ${VGPU_NVCC} -arch=compute_75 -ptx ${options_${level}} -o ${ptx} ${CMAKE_CURRENT_SOURCE_DIR}/classic.cu)
    add_custom_target(vgpu_classic_ptx_${level} DEPENDS ${ptx})
    add_dependencies(test_vgpu_classic_${level} vgpu_classic_ptx_${level})
  endif()
endforeach()

# Speed of the interpreter: `vgpu_bench` prints warp instructions a second.
add_executable(vgpu_bench ${CMAKE_CURRENT_SOURCE_DIR}/bench_exec.c)
target_link_libraries(vgpu_bench PRIVATE vgpu_inside)

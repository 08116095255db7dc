# Tests of counters, timing model and profiles. The kernels with known costs are compiled where both they and nvcc are at hand.
phi3_test(vgpu_count_rules SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_count_rules.c LIBS vgpu_inside LABELS vgpu)
phi3_test(vgpu_t4 SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_t4.c LIBS vgpu_inside LABELS vgpu)

phi3_test(vgpu_profile SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_profile.c ${CMAKE_CURRENT_SOURCE_DIR}/sim_run.c LIBS vgpu_inside LABELS vgpu threads)

find_program(VGPU_NVCC nvcc HINTS /usr/local/cuda/bin)
set(sim_kernels ${CMAKE_SOURCE_DIR}/../shared/data/sim/kernels.cu)

# vgpu_test_ptx(VARIABLE SOURCE NAME): PTX of a .cu file, or nothing where there is no nvcc.
function(vgpu_test_ptx variable source name)
  set(${variable} "" PARENT_SCOPE)
  if(NOT VGPU_NVCC OR NOT EXISTS ${source})
    return()
  endif()
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name}.ptx)
  add_custom_command(OUTPUT ${out} COMMAND ${VGPU_NVCC} -arch=sm_75 -ptx -o ${out} ${source} DEPENDS ${source} VERBATIM)
  add_custom_target(vgpu_ptx_${name} DEPENDS ${out})
  set(${variable} ${out} PARENT_SCOPE)
endfunction()

vgpu_test_ptx(sim_ptx ${sim_kernels} sim_kernels)
phi3_test(vgpu_sim SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_sim.c ${CMAKE_CURRENT_SOURCE_DIR}/sim_run.c LIBS vgpu_inside LABELS vgpu)
target_compile_definitions(test_vgpu_sim PRIVATE "SIM_PTX=\"${sim_ptx}\"")
if(sim_ptx)
  add_dependencies(test_vgpu_sim vgpu_ptx_sim_kernels)
endif()

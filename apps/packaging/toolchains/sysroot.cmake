# Part of the toolchain files: with CMAKE_SYSROOT (apps/packaging/sysroot makes one) everything but
# programs is found there alone, and runs with its libraries.
if(CMAKE_SYSROOT)
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  foreach(kind IN ITEMS LIBRARY INCLUDE PACKAGE)
    set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
  endforeach()
  set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})
  set(ENV{PKG_CONFIG_LIBDIR}
      ${CMAKE_SYSROOT}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)
  list(POP_BACK CMAKE_CROSSCOMPILING_EMULATOR)
  list(APPEND CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_SYSROOT})
endif()

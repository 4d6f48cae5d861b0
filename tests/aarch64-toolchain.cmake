# Cross build for 64-bit ARM on Debian: gcc-aarch64-linux-gnu and the arm64 packages of the dependencies
# (dpkg --add-architecture arm64). Tests run under qemu; set TERN_QEMU_CPU to choose the model.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
set(TERN_QEMU_CPU max CACHE STRING "CPU model for qemu-aarch64")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu ${TERN_QEMU_CPU} -L /)

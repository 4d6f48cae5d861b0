#!/usr/bin/env bash
# with_driver.sh [--validate] DRIVER COMMAND...: runs COMMAND with one Vulkan driver that needs no GPU, or with both.
#   DRIVER       lavapipe, swiftshader, or both
#   --validate   with Khronos' validation layer, synchronization validation on: a message fails the run
# Exits with the command's status, 77 where the driver or the layer is not installed, 1 after a message.
set -uo pipefail
validate=0
if [ "${1:-}" = --validate ]; then validate=1; shift; fi
driver=${1:?usage: with_driver.sh [--validate] lavapipe|swiftshader|both COMMAND...}
shift

lavapipe=$(ls /usr/share/vulkan/icd.d/lvp_icd.*json 2>/dev/null | head -n 1)
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json
[ -f "$swiftshader" ] || swiftshader=""
case "$driver" in
  lavapipe) files=$lavapipe; need="mesa-vulkan-drivers" ;;
  swiftshader) files=$swiftshader; need="chromium" ;;
  both) files=${lavapipe:+${swiftshader:+$lavapipe:$swiftshader}}; need="mesa-vulkan-drivers and chromium" ;;
  *) echo "with_driver.sh: no driver '$driver'; lavapipe, swiftshader or both" >&2; exit 2 ;;
esac
if [ -z "$files" ]; then
  echo "skipped: the Vulkan driver '$driver' is not installed (packages: $need)"
  exit 77
fi
export VK_ICD_FILENAMES=$files VK_DRIVER_FILES=$files
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export XDG_RUNTIME_DIR=$folder # the loader and the drivers complain where there is none
# Drivers keep memory until the end. What tern holds its own allocator counts, and objects of Vulkan the layer.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}suppressions=$(cd "$(dirname "$0")" && pwd)/../sanitize/drivers.supp"

if [ $validate = 0 ]; then
  "$@"
  exit $?
fi
if ! ls /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json >/dev/null 2>&1; then
  echo "skipped: Vulkan's validation layer is not installed (package: vulkan-validationlayers)"
  exit 77
fi
cat >"$folder/vk_layer_settings.txt" <<SETTINGS
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,perf
khronos_validation.log_filename = stdout
khronos_validation.enable_message_limit = false
SETTINGS
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH=$folder
"$@" 2>&1 | tee "$folder/output"
status=${PIPESTATUS[0]}
messages=$(grep -cE '^(Validation (Error|Warning|Performance)|UNASSIGNED-|VUID-|SYNC-HAZARD-)' "$folder/output")
if [ "$messages" != 0 ]; then
  echo "with_driver.sh: the validation layer has $messages messages, see above"
  exit 1
fi
exit "$status"

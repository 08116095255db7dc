# What scripts/profile_ncu.sh and scripts/profile_nsys.sh share; they source it, with their name in $self.

fail() { # exit code, sentence
  echo "$self: $2" >&2
  exit "$1"
}

# $range from $phase, whose ranges nest: step > layer > operation; see runtime/gpu/gpu.h. Of the default command, whose prompt has $tokens.
take_phase() {
  [ -z "$phase" ] || [ -z "$range" ] || fail 2 "give either --phase or --range"
  [ -z "$phase" ] || [ ${#command[@]} -eq 0 ] || fail 2 "--phase knows the default command alone; give --range with your own"
  case $phase in
    '') ;;
    prefill) range="prefill $tokens" ;;
    decode) range="decode 1" ;;
    *) fail 2 "--phase takes prefill or decode, not '$phase'" ;;
  esac
}

# The tool, a GPU, and the program that is looked at.
need() { # tool, how to get it, what there is without a GPU
  command -v "$1" >/dev/null || fail 1 "there is no $1; install $2, or see what would run with --print"
  [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || fail 1 "there is no NVIDIA GPU here; $3"
  [ -x "${command[0]}" ] || command -v "${command[0]}" >/dev/null || fail 1 "${command[0]} is not there; build it with scripts/build.sh release"
}

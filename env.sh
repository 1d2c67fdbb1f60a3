# For `source env.sh`: lets the plain `dagster` command find this project and its environment.
#
#   dagster asset materialize --select rr_dialogues                      all five sources
#   dagster asset materialize --select rr_dialogues --partition tabmwp   one of them

if [ -n "${BASH_SOURCE:-}" ]; then _mmat_file=${BASH_SOURCE[0]}; else _mmat_file=$0; fi
_mmat_root=$(cd "$(dirname "$_mmat_file")" && pwd)
if [ -f "$_mmat_root/.venv/bin/activate" ]; then . "$_mmat_root/.venv/bin/activate"; fi
unset _mmat_file _mmat_root

export DAGSTER_MODULE_NAME=mmat_dagster.definitions

# `asset materialize` wants its partitions named: all sources, unless the command line names some itself.
export DAGSTER_CLI_ASSET_MATERIALIZE_PARTITION_RANGE=visual_cot...infoseek
dagster() {
    case " $* " in
        # It reads workspace.yaml and hands the variable on to a webserver that takes only one of the two.
        " dev "*) (unset DAGSTER_MODULE_NAME; command dagster "$@") ;;
        *" --partition"*) (unset DAGSTER_CLI_ASSET_MATERIALIZE_PARTITION_RANGE; command dagster "$@") ;;
        *) command dagster "$@" ;;
    esac
}

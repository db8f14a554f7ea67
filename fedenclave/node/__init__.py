"""The data owner's node: which app may run there is the owner's decision (T12).

bundle.py         what an app is: the files of a Flower app bundle, and its hash
source.py         what an app's code says of itself, read and never run
notices.py        the places in it that its owner is to look at
disguises.py      what would show a reader another text, or another file
inspection.py     what speaks against approving it, and what its owner is to look at
approvals.py      the owner's decisions, kept in the client's folder
replacement.py    a new version of an app beside the approved one
admitted.py       from the bytes that a SuperLink sent to the owner's own copy of the same app
app_process.py    one message, answered by an approved app, or refused
app_caller.py     calls the app, in a process of its own, and our mod around it
app_alone.py      that process
app_pipe.py       what goes between the two
loaded_app.py     whether what was loaded is what was read
launcher.py       starts app_process for each task of a SuperNode
supervisor.py     keeps SuperNode and launcher running, and ends them
programs.py       how these two are started
supernode.py      Flower's SuperNode, with bounds to what a SuperLink can do to it
fleet_answers.py  what a SuperLink may answer
runtime_admission.py  how much is read of whom nobody knows yet
watchdog.py       ends a SuperNode that asks for no work
flower_log.py     what Flower logs, one short line each
line_limit.py     how many lines a log takes
run_folder.py     the private folder that they are given
runtime_api.py    how launcher and apps know their SuperNode
own_settings.py   what an app is told of its node
bound.py          a program that ends with the one that started it, and may be confined
landlock.py       where a process may write, and whom it may connect to
process_limits.py what a process asks of Linux about itself
service_notice.py what systemd is told of it
run_lock.py       whether a node runs on a folder
proxy.py          the way out, where there is a proxy
status.py         what a node is doing and has done
metrics.py        the same for Prometheus, on this machine alone
check.py          what of a node is missing or unsafe
data_check.py     the same of its data
data_access.py    what an app that is confined needs to reach its data
check_folder.py   the same of its folder: keys, state, disk, clock
row.py            one thing that was looked at
configuration.py  node.toml
settings.py       how Flower reads what an app may know of its node
node_key.py       the key for the SuperLink
log_file.py       a log of bounded size
"""

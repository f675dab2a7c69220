"""A real machine as a guest of the lab's network: QEMU, a kernel, systemd and cloud-init instead of a namespace.

`image` builds what it boots from, out of Debian's packages; `machine` runs it behind an interface of the lab. Called by
`make vm`. May not import boto3, moto or anything of `api`.
"""

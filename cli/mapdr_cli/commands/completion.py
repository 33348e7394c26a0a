"""`mapdr completion`: what a shell runs to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish", "powershell")
VARIABLE = "_MAPDR_COMPLETE"
"""How click asks this program for completions."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what lets a shell complete commands, options, names of destinations and UIDs of studies.

    \b
    bash        mapdr completion bash > ~/.local/share/bash-completion/completions/mapdr
    zsh         mapdr completion zsh > ~/.mapdr-completion.zsh; in .zshrc, after compinit:
                source ~/.mapdr-completion.zsh
    fish        mapdr completion fish > ~/.config/fish/completions/mapdr.fish
    PowerShell  in $PROFILE: mapdr completion powershell | Out-String | Invoke-Expression

    In a new shell it is there.
    """
    found = get_completion_class(shell)
    assert found is not None  # click has all that are in SHELLS
    click.echo(found(ctx.find_root().command, {}, "mapdr", VARIABLE).source())

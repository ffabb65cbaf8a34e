"""The commands of this part: `server`, `rollout`, `device`. The last two speak to a server over HTTP."""

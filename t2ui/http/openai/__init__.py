"""An API like OpenAI's, in which a mixture is a model's name: /v1/models, /v1/chat/completions and
/v1/completions.

`names` says what a model's name means, `fields` and `requests` what may be asked, `replies` what
comes back, `routes` joins them to a worker's client. What the standard has no word for goes into a
field `t2ui`, in the request and in the reply. The door in front has let in whoever comes here.
"""

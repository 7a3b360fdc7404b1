"""How the weights of one network become those of another of other widths, depths or activations.

    axes         which channels of the parent are those of the child
    pieces       how a tensor of the child comes from one of the parent, under masks too
    widths       one walk through both networks that finds the axes and the pieces; basics, layers, channels: its rules
    statistics   what is known of channels from the weights alone
    entries      convolutions that begin a stage in one of the networks alone
    depths       blocks that begin as nothing or as the identity; resting, identities: how
    activations  activations fitted to those before them

Net2Net (Chen, Goodfellow and Shlens, 2016) is the idea: a wider layer has copies of channels whose outgoing weights add
up to the one before, a new block starts as the identity. Network Morphism (Wei et al., 2016) has it for networks whose
activations are no ReLU.
"""

class SceneError(ValueError):
    """A scene, or the file of a scene, is not what it must be; the message is one line that says what to mend.

    Example:
        >>> from jaxopt_thoth.unmixing import load_scene, SceneError
        >>> try:
        ...     load_scene("nowhere.npz")
        ... except SceneError as error:
        ...     print(error)
        nowhere.npz: no such file.
    """
